// Shows the structures that were labelled last, one at a time, with the forces on their atoms.
"use strict";
(() => {
  const place = document.getElementById("structures"), caption = document.getElementById("caption"), forces = document.getElementById("forces");
  let viewer = null, all = [], at = 0, again = 0;

  function makeViewer() {
    try {
      return $3Dmol.createViewer("scene");
    } catch {
      document.getElementById("scene").textContent = "This browser draws no 3D (it has no WebGL).";
      return false;
    }
  }

  function writeXyz(structure) {
    const lines = structure.symbols.map((symbol, i) => `${symbol} ${structure.positions[i].join(" ")}`);
    return [structure.symbols.length, structure.id, ...lines].join("\n");
  }

  function drawCell(cell) {
    const point = (f) => ({ x: f[0] * cell[0][0] + f[1] * cell[1][0] + f[2] * cell[2][0], y: f[0] * cell[0][1] + f[1] * cell[1][1] + f[2] * cell[2][1], z: f[0] * cell[0][2] + f[1] * cell[1][2] + f[2] * cell[2][2] });
    for (let corner = 0; corner < 8; corner++) for (let k = 0; k < 3; k++) {
      const from = [corner & 1, (corner >> 1) & 1, (corner >> 2) & 1];
      if (from[k]) continue;
      const to = from.slice();
      to[k] = 1;
      viewer.addLine({ start: point(from), end: point(to), color: "#24568f" });
    }
  }

  function drawForces(structure) {
    const largest = Math.max(...structure.forces.map((f) => Math.hypot(...f)), 0.001), scale = 1.8 / largest;
    structure.positions.forEach((p, i) => {
      const f = structure.forces[i];
      if (Math.hypot(...f) * scale < 0.1) return;
      viewer.addArrow({ start: { x: p[0], y: p[1], z: p[2] }, end: { x: p[0] + scale * f[0], y: p[1] + scale * f[1], z: p[2] + scale * f[2] }, radius: 0.07, radiusRatio: 2.2, mid: 0.72, color: "#d02090" });
    });
  }

  function show() {
    const structure = all[at];
    if (!structure) return;
    caption.textContent = describe(structure);
    document.getElementById("looking").hidden = false;
    if (viewer === null) viewer = makeViewer();
    if (viewer) draw(structure);
  }

  function draw(structure) {
    viewer.setBackgroundColor(getComputedStyle(document.getElementById("scene")).backgroundColor);
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.addModel(writeXyz(structure), "xyz");
    viewer.setStyle({}, { stick: { radius: 0.13 }, sphere: { scale: 0.27 } });
    if (structure.cell) drawCell(structure.cell);
    if (forces.checked) drawForces(structure);
    viewer.zoomTo();
    viewer.render();
  }

  const describe = (structure) => `${at + 1} of the last ${all.length}: ${structure.formula}${describeState(structure)}, ${structure.id} (${structure.source}); ${structure.energy_per_atom.toFixed(3)} eV/atom, largest force ${structure.largest_force.toFixed(2)} eV/Å`;

  const describeState = ({ charge, multiplicity }) => `${charge ? `, charge ${charge > 0 ? "+" : "−"}${Math.abs(charge)}` : ""}${multiplicity ? `, spin multiplicity ${multiplicity}` : ""}`;

  async function load() {
    clearTimeout(again);
    const answer = await fetch(place.dataset.url).catch(() => ({ ok: false }));
    if (answer.ok) all = await answer.json();
    at = 0;
    show();
    if (answer.ok && !all.length) caption.textContent = "Nothing is labelled yet.";
    if (!all.length) again = setTimeout(load, 4000);
  }

  const step = (by) => { if (all.length) { at = (at + by + all.length) % all.length; show(); } };
  document.getElementById("older").addEventListener("click", () => step(1));
  document.getElementById("newer").addEventListener("click", () => step(-1));
  document.getElementById("reload").addEventListener("click", load);
  forces.addEventListener("change", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  load();
})();
