// Reads the structures that the page carries, and writes them as extended XYZ and CIF.
"use strict";
const carried = JSON.parse(document.getElementById("structures")?.textContent || '{"structures": [], "elements": {}, "axes": []}');
const geometry = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const shorts = (text) => { const b = bytes(text), view = new DataView(b.buffer); return Array.from({ length: b.length / 2 }, (_, i) => view.getInt16(2 * i, true)); };
  const inThrees = (flat) => Array.from({ length: flat.length / 3 }, (_, i) => flat.slice(3 * i, 3 * i + 3));
  const add = (a, b, f) => [a[0] + f * b[0], a[1] + f * b[1], a[2] + f * b[2]];
  const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
  const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];

  function read(structure) {
    const packed = shorts(structure.bonds), bonds = [];
    for (let k = 0; k < packed.length; k += 5) bonds.push({ i: packed[k], j: packed[k + 1], v: packed.slice(k + 2, k + 5).map((v) => v * structure.scale) });
    return {
      numbers: Array.from(bytes(structure.numbers)),
      positions: inThrees(shorts(structure.positions).map((v) => v * structure.scale)),
      bonds,
      forces: structure.forces ? inThrees(shorts(structure.forces).map((v) => v * structure.force_scale)) : [],
      corner: structure.cell ? [0, 1, 2].map((k) => -(structure.cell[0][k] + structure.cell[1][k] + structure.cell[2][k]) / 2) : [0, 0, 0],
    };
  }

  function writeXyz(structure) {
    const { numbers, positions, forces } = read(structure), hasForces = forces.length > 0;
    const lattice = structure.cell ? `Lattice="${structure.cell.flat().join(" ")}" ` : "", pbc = structure.pbc.map((yes) => (yes ? "T" : "F")).join(" ");
    const write = (p, digits) => p.map((v) => v.toFixed(digits)).join(" ");
    const rows = positions.map((p, i) => `${carried.elements[numbers[i]].symbol} ${write(p, 4)}${hasForces ? ` ${write(forces[i], 4)}` : ""}`);
    const state = "charge" in structure.values ? ` charge=${structure.values.charge} spin=${structure.values.spin}` : "";
    return [numbers.length, `${lattice}pbc="${pbc}" Properties=species:S:1:pos:R:3${hasForces ? ":forces:R:3" : ""} id=${structure.id} energy=${structure.energy}${state}`, ...rows, ""].join("\n");
  }

  function writeCif(structure) {
    const [a, b, c] = structure.cell, { numbers, positions, corner } = read(structure);
    const angle = (u, v) => (180 / Math.PI) * Math.acos(dot(u, v) / Math.hypot(...u) / Math.hypot(...v)), volume = dot(a, cross(b, c));
    const rows = positions.map((p, i) => {
      const q = add(p, corner, -1), f = [dot(q, cross(b, c)), dot(q, cross(c, a)), dot(q, cross(a, b))].map((v) => (v / volume).toFixed(5));
      return `${carried.elements[numbers[i]].symbol} ${f.join(" ")}`;
    });
    const lengths = [a, b, c].map((v, k) => `_cell_length_${"abc"[k]} ${Math.hypot(...v).toFixed(4)}`);
    const angles = [[b, c, "alpha"], [a, c, "beta"], [a, b, "gamma"]].map(([u, v, name]) => `_cell_angle_${name} ${angle(u, v).toFixed(3)}`);
    const head = [`data_${structure.id.replace(/[^A-Za-z0-9]/g, "_")}`, ...lengths, ...angles, "_space_group_name_H-M_alt 'P 1'"];
    return [...head, "loop_", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z", ...rows, ""].join("\n");
  }
  return { read, add, writeXyz, writeCif };
})();
