// Shows one structure of the gallery at a time: atoms, bonds and cell as a plotly scene that can be turned.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("structures").textContent);
  const choice = document.getElementById("choice"), arrows = document.getElementById("arrows"), search = document.getElementById("search");
  const all = data.groups.flatMap((group) => group.structures);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const shorts = (text) => { const b = bytes(text), view = new DataView(b.buffer); return Array.from({ length: b.length / 2 }, (_, i) => view.getInt16(2 * i, true)); };
  const add = (a, b, f) => [a[0] + f * b[0], a[1] + f * b[1], a[2] + f * b[2]];

  function read(structure) {
    const flat = shorts(structure.positions).map((v) => v * structure.scale), packed = shorts(structure.bonds), bonds = [];
    for (let k = 0; k < packed.length; k += 5) bonds.push({ i: packed[k], j: packed[k + 1], v: packed.slice(k + 2, k + 5).map((v) => v * structure.scale) });
    const positions = Array.from({ length: flat.length / 3 }, (_, i) => flat.slice(3 * i, 3 * i + 3));
    const pushes = structure.forces ? shorts(structure.forces).map((v) => v * structure.force_scale) : [];
    const forces = Array.from({ length: pushes.length / 3 }, (_, i) => pushes.slice(3 * i, 3 * i + 3));
    return { numbers: Array.from(bytes(structure.numbers)), positions, bonds, forces };
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

  // Forces as lines from their atoms, the longest 1.5 Å.
  function drawForces({ positions, forces }) {
    const largest = Math.max(...forces.map((f) => Math.hypot(...f)), 1e-6);
    const lines = forces.flatMap((f, i) => Math.hypot(...f) > 0.05 * largest ? [[positions[i], add(positions[i], f, 1.5 / largest)]] : []);
    return { type: "scatter3d", mode: "lines", ...joinLines(lines), line: { color: "#b8473d", width: 5 }, hoverinfo: "skip" };
  }

  function writeXyz(structure, { numbers, positions }) {
    const lattice = structure.cell ? `Lattice="${structure.cell.flat().join(" ")}" pbc="T T T" ` : "";
    const rows = positions.map((p, i) => `${data.elements[numbers[i]].symbol} ${p.map((v) => v.toFixed(4)).join(" ")}`);
    return [numbers.length, `${lattice}Properties=species:S:1:pos:R:3 id=${structure.id} energy_per_atom=${structure.energy}`, ...rows, ""].join("\n");
  }

  function writeCif(structure, { numbers, positions }) {
    const [a, b, c] = structure.cell, dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    const angle = (u, v) => (180 / Math.PI) * Math.acos(dot(u, v) / Math.hypot(...u) / Math.hypot(...v));
    const volume = dot(a, cross(b, c)), middle = [0, 1, 2].map((k) => (a[k] + b[k] + c[k]) / 2);
    const rows = positions.map((p, i) => {
      const q = p.map((v, k) => v + middle[k]), f = [dot(q, cross(b, c)), dot(q, cross(c, a)), dot(q, cross(a, b))].map((v) => (v / volume).toFixed(5));
      return `${data.elements[numbers[i]].symbol} ${f.join(" ")}`;
    });
    const lengths = [a, b, c].map((v, k) => `_cell_length_${"abc"[k]} ${Math.hypot(...v).toFixed(4)}`);
    const angles = [[b, c, "alpha"], [a, c, "beta"], [a, b, "gamma"]].map(([u, v, name]) => `_cell_angle_${name} ${angle(u, v).toFixed(3)}`);
    const head = [`data_${structure.id.replace(/[^A-Za-z0-9]/g, "_")}`, ...lengths, ...angles, "_space_group_name_H-M_alt 'P 1'"];
    return [...head, "loop_", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z", ...rows, ""].join("\n");
  }

  function save(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
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
    for (const id of ["remark-title", "structure-remark"]) document.getElementById(id).hidden = !structure.remark;
    document.getElementById("save-cif").disabled = !structure.cell;
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
    if (arrows.checked && geometry.forces.length) traces.push(drawForces(geometry));
    const axis = { visible: false, range: [-box, box] };
    const scene = { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "manual", aspectratio: { x: 1.6, y: 1.6, z: 1.6 }, dragmode: "orbit", camera: { projection: { type: "orthographic" }, eye: { x: 1.2, y: 0.7, z: 0.55 } } };
    Plotly.react("scene", traces, { scene, showlegend: false, margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: structure.id, paper_bgcolor: "#fff" }, { responsive: true, displayModeBar: false });
    describe(structure, geometry.numbers);
  }

  function matches(structure) {
    const wanted = search.value.trim(), symbols = structure.formula.match(/[A-Z][a-z]?/g);
    return !wanted || symbols.includes(wanted) || [structure.formula, structure.id, structure.source, structure.system].some((text) => text.includes(wanted));
  }

  function list() {
    choice.replaceChildren();
    for (const group of data.groups) {
      const found = group.structures.filter(matches);
      if (!found.length) continue;
      const heading = document.createElement("optgroup");
      heading.label = group.title;
      for (const structure of found) heading.append(new Option(`${structure.formula}  ·  ${structure.id}`, all.indexOf(structure)));
      choice.append(heading);
    }
  }
  const step = (by) => {
    const n = choice.options.length;
    if (n) show(Number(choice.options[(choice.selectedIndex + by + n) % n].value));
  };
  function showById(id) {
    const found = all.findLastIndex((s) => s.id === id);
    if (found < 0) return;
    search.value = "";
    list();
    show(found);
  }
  const findLinked = () => (location.hash.startsWith("#structure=") ? decodeURIComponent(location.hash.slice(11)) : "");
  search.addEventListener("input", () => { list(); if (choice.options.length) show(Number(choice.options[0].value)); });
  arrows.addEventListener("change", () => show(Number(choice.value)));
  for (const [format, write] of [["xyz", writeXyz], ["cif", writeCif]]) document.getElementById(`save-${format}`).addEventListener("click", () => {
    const structure = all[Number(choice.value)];
    if (structure) save(write(structure, read(structure)), `${structure.id.replace("/", "-")}.${format}`);
  });
  window.addEventListener("hashchange", () => showById(findLinked()));
  choice.addEventListener("change", () => show(Number(choice.value)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  for (const link of document.querySelectorAll("[data-structure]")) link.addEventListener("click", () => {
    showById(link.dataset.structure);
  });
  list();
  show(0);
  if (findLinked()) {
    showById(findLinked());
    document.getElementById("gallery").scrollIntoView();
  }
})();
