// Shows one structure of the gallery at a time: atoms, bonds and cell as a plotly scene that can be turned.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("structures").textContent);
  const choice = document.getElementById("choice");
  const all = data.groups.flatMap((group) => group.structures);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const shorts = (text) => { const b = bytes(text), view = new DataView(b.buffer); return Array.from({ length: b.length / 2 }, (_, i) => view.getInt16(2 * i, true)); };
  const add = (a, b, f) => [a[0] + f * b[0], a[1] + f * b[1], a[2] + f * b[2]];

  function read(structure) {
    const flat = shorts(structure.positions).map((v) => v * structure.scale), packed = shorts(structure.bonds), bonds = [];
    for (let k = 0; k < packed.length; k += 5) bonds.push({ i: packed[k], j: packed[k + 1], v: packed.slice(k + 2, k + 5).map((v) => v * structure.scale) });
    const positions = Array.from({ length: flat.length / 3 }, (_, i) => flat.slice(3 * i, 3 * i + 3));
    return { numbers: Array.from(bytes(structure.numbers)), positions, bonds };
  }

  function joinLines(lines) {
    const points = lines.flatMap(([from, to]) => [from, to, [null, null, null]]);
    return { x: points.map((p) => p[0]), y: points.map((p) => p[1]), z: points.map((p) => p[2]) };
  }

  // A bond within the cell is one line; one that leaves it is half a line from either end.
  function drawBonds({ positions, bonds }, pixels) {
    const lines = bonds.flatMap(({ i, j, v }) => {
      const end = add(positions[i], v, 1), isWithin = end.every((c, k) => Math.abs(c - positions[j][k]) < 0.1);
      return isWithin ? [[positions[i], positions[j]]] : [[positions[i], add(positions[i], v, 0.5)], [positions[j], add(positions[j], v, -0.5)]];
    });
    return { type: "scatter3d", mode: "lines", ...joinLines(lines), line: { color: "#9aa4ae", width: Math.min(6, Math.max(1.5, 0.16 * pixels)) }, hoverinfo: "skip" };
  }

  function drawCell(cell) {
    const half = [0, 1, 2].map((k) => -(cell[0][k] + cell[1][k] + cell[2][k]) / 2), lines = [];
    for (let corner = 0; corner < 8; corner++) for (let k = 0; k < 3; k++) if (!((corner >> k) & 1)) {
      let from = half;
      for (let m = 0; m < 3; m++) if ((corner >> m) & 1) from = add(from, cell[m], 1);
      lines.push([from, add(from, cell[k], 1)]);
    }
    return { type: "scatter3d", mode: "lines", ...joinLines(lines), line: { color: "#3366a6", width: 2 }, hoverinfo: "skip" };
  }

  function drawAtoms({ numbers, positions }, pixels) {
    const elements = numbers.map((z) => data.elements[z]);
    return {
      type: "scatter3d", mode: "markers", x: positions.map((p) => p[0]), y: positions.map((p) => p[1]), z: positions.map((p) => p[2]),
      text: elements.map((e, i) => `${e.symbol} ${i}`), hoverinfo: "text",
      marker: { color: elements.map((e) => e.colour), size: elements.map((e) => Math.max(3, 0.95 * pixels * e.radius)), opacity: 1, line: { color: "#4a545e", width: 1 } },
    };
  }

  function findSpan(geometry, cell) {
    const points = geometry.positions.slice();
    if (cell) for (const s of [-0.5, 0.5]) for (const t of [-0.5, 0.5]) for (const u of [-0.5, 0.5]) points.push([0, 1, 2].map((k) => s * cell[0][k] + t * cell[1][k] + u * cell[2][k]));
    return [0, 1, 2].map((k) => Math.max(...points.map((p) => p[k])) - Math.min(...points.map((p) => p[k])));
  }

  function say(name, text) { document.getElementById(`structure-${name}`).textContent = text; }

  function describe(structure, numbers) {
    for (const name of ["id", "formula", "source", "system", "energy", "force", "origin", "remark"]) say(name, structure[name] || "–");
    say("n", numbers.length);
    const chips = [...new Set(numbers)].sort((a, b) => a - b).map((z) => {
      const chip = document.createElement("span"), dot = document.createElement("i");
      chip.className = "chip";
      dot.style.background = data.elements[z].colour;
      chip.append(dot, data.elements[z].symbol);
      return chip;
    });
    document.getElementById("structure-elements").replaceChildren(...chips);
  }

  function show(index) {
    const structure = all[index], geometry = read(structure);
    choice.value = index;
    const diagonal = Math.max(Math.hypot(...findSpan(geometry, structure.cell)), 2.5), box = diagonal / 2;
    const pixels = 370 / diagonal, traces = [drawBonds(geometry, pixels), drawAtoms(geometry, pixels)];
    if (structure.cell) traces.push(drawCell(structure.cell));
    const axis = { visible: false, range: [-box, box] };
    const scene = { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "manual", aspectratio: { x: 1.6, y: 1.6, z: 1.6 }, dragmode: "orbit", camera: { projection: { type: "orthographic" }, eye: { x: 1.2, y: 0.7, z: 0.55 } } };
    Plotly.react("scene", traces, { scene, showlegend: false, margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: structure.id, paper_bgcolor: "#fff" }, { responsive: true, displayModeBar: false });
    describe(structure, geometry.numbers);
  }

  let index = 0;
  for (const group of data.groups.filter((g) => g.structures.length)) {
    const heading = document.createElement("optgroup");
    heading.label = group.title;
    for (const structure of group.structures) heading.append(new Option(`${structure.formula}  ·  ${structure.id}`, index++));
    choice.append(heading);
  }
  const step = (by) => show((Number(choice.value) + by + all.length) % all.length);
  choice.addEventListener("change", () => show(Number(choice.value)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  for (const link of document.querySelectorAll("[data-structure]")) link.addEventListener("click", () => {
    const found = all.findLastIndex((s) => s.id === link.dataset.structure);
    if (found >= 0) show(found);
  });
  show(0);
})();
