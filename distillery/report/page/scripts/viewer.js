// Draws structures with 3Dmol.js: atoms, bonds, cell, forces. One viewer shows, another one, out of sight, makes all pictures.
"use strict";
const BOND = "#9aa4ae", CELL = "#5b8fd0", FORCE = "#d02090";
const drawer = (() => {
  const point = (p) => ({ x: p[0], y: p[1], z: p[2] });

  function makeViewer(place) {
    try {
      return $3Dmol.createViewer(place, { backgroundColor: "white", backgroundAlpha: 0, antialias: true, disableFog: true });
    } catch {
      return null; // no WebGL
    }
  }

  // Atoms with their bonds; a bond that leaves the cell leads half way, to a point that is no atom.
  function listAtoms({ numbers, positions, bonds }) {
    const atoms = positions.map((p, i) => ({ elem: carried.elements[numbers[i]].symbol, ...point(p), serial: i, bonds: [], bondOrder: [] }));
    const join = (i, j) => { atoms[i].bonds.push(j); atoms[i].bondOrder.push(1); atoms[j].bonds.push(i); atoms[j].bondOrder.push(1); };
    const leadOut = (i, end) => { atoms.push({ elem: "Xx", ...point(end), serial: atoms.length, bonds: [], bondOrder: [] }); join(i, atoms.length - 1); };
    for (const { i, j, v } of bonds) {
      const end = geometry.add(positions[i], v, 1);
      if (end.every((c, k) => Math.abs(c - positions[j][k]) < 0.1)) join(i, j);
      else { leadOut(i, geometry.add(positions[i], v, 0.5)); leadOut(j, geometry.add(positions[j], v, -0.5)); }
    }
    return atoms;
  }

  function drawCell(viewer, cell, corner) {
    for (let from = 0; from < 8; from++) for (let k = 0; k < 3; k++) if (!((from >> k) & 1)) {
      let start = corner;
      for (let m = 0; m < 3; m++) if ((from >> m) & 1) start = geometry.add(start, cell[m], 1);
      viewer.addCylinder({ start: point(start), end: point(geometry.add(start, cell[k], 1)), radius: 0.04, color: CELL });
    }
  }

  function drawForces(viewer, { positions, forces }) {
    const largest = Math.max(...forces.map((f) => Math.hypot(...f)), 1e-6);
    forces.forEach((f, i) => {
      if (Math.hypot(...f) > 0.05 * largest) viewer.addArrow({ start: point(positions[i]), end: point(geometry.add(positions[i], f, 1.5 / largest)), radius: 0.06, radiusRatio: 2.2, mid: 0.7, color: FORCE });
    });
  }

  function draw(viewer, structure, withForces) {
    const shape = geometry.read(structure);
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.addModel().addAtoms(listAtoms(shape));
    for (const z of new Set(shape.numbers)) {
      const { symbol, colour, radius } = carried.elements[z];
      viewer.setStyle({ elem: symbol }, { sphere: { radius: 0.55 * radius, color: colour }, stick: { radius: 0.12, color: BOND } });
    }
    viewer.setStyle({ elem: "Xx" }, { stick: { radius: 0.12, color: BOND } });
    if (structure.cell) drawCell(viewer, structure.cell, shape.corner);
    if (withForces) drawForces(viewer, shape);
  }

  function turnTowardsUs(viewer) {
    viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
    viewer.zoomTo();
    viewer.rotate(-72, "x");
    viewer.rotate(-22, "y");
  }
  return { makeViewer, draw, turnTowardsUs };
})();
