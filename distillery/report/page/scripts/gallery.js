// The structures that the page carries: found by search and links, shown one at a time, saved.
"use strict";
if (carried.structures.length) (() => {
  const place = (id) => document.getElementById(id), all = carried.structures;
  const choice = place("choice"), arrows = place("arrows"), search = place("search"), group = place("group"), scene = place("scene");
  const viewer = drawer.makeViewer(scene);
  let at = 0, turned = -1, found = [];
  const drawMap = makeMap(place("map"), place("map-x"), place("map-y"), show), fillPictures = makePictures(place("pictures"), place("more"), (k) => { show(k); place("gallery").scrollIntoView(); });

  function say(name, text) { place(`structure-${name}`).textContent = text; }

  function describe(structure) {
    const { numbers } = geometry.read(structure);
    for (const name of ["id", "formula", "source", "system", "origin", "remark"]) say(name, structure[name] || "–");
    place("structure-remark-row").hidden = !structure.remark;
    place("save-cif").disabled = !structure.cell;
    place("structure-elements").replaceChildren(...[...new Set(numbers)].sort((a, b) => a - b).map((z) => {
      const chip = document.createElement("span"), dot = document.createElement("i");
      chip.className = "chip";
      dot.style.background = carried.elements[z].colour;
      chip.append(dot, carried.elements[z].symbol);
      return chip;
    }));
    place("structure-values").replaceChildren(...carried.axes.filter((axis) => axis.key in structure.values).flatMap((axis) => {
      const title = document.createElement("dt"), value = document.createElement("dd");
      title.textContent = axis.title;
      value.textContent = structure.values[axis.key].toLocaleString("en", { maximumSignificantDigits: 5 });
      return [title, value];
    }));
    scene.setAttribute("aria-label", `${structure.formula}, ${numbers.length} atoms, in 3D`);
  }

  function show(k) {
    at = k;
    const structure = all[k];
    choice.value = k;
    describe(structure);
    drawMap(new Set(found), k);
    if (!viewer) { scene.textContent = "This browser draws no 3D (it has no WebGL). The structure can be saved all the same."; return; }
    drawer.draw(viewer, structure, arrows.checked);
    if (turned !== k) drawer.turnTowardsUs(viewer);
    turned = k;
    viewer.render();
  }

  function matches(structure) {
    if (group.value === "outliers" ? !structure.remark : group.value && group.value !== `source ${structure.source}`) return false;
    const wanted = search.value.trim(), symbols = structure.formula.match(/[A-Z][a-z]?/g);
    return !wanted || symbols.includes(wanted) || [structure.formula, structure.id, structure.source, structure.system].some((text) => text.includes(wanted));
  }

  function list() {
    found = all.map((_, k) => k).filter((k) => matches(all[k]));
    choice.replaceChildren(...found.map((k) => new Option(`${all[k].formula}  ·  ${all[k].id}`, k)));
    place("found").textContent = found.length ? `${found.length} of ${all.length} structures` : "No structure is like that.";
    fillPictures(found);
  }

  function filter() {
    list();
    if (!found.length) drawMap(new Set(), at);
    else show(found.includes(at) ? at : found[0]);
  }

  function showById(id) {
    const k = all.findIndex((structure) => structure.id === id);
    if (k < 0) return;
    search.value = group.value = "";
    list();
    show(k);
    place("gallery").scrollIntoView();
  }
  const step = (by) => { if (found.length) show(found[(found.indexOf(at) + by + found.length) % found.length]); };
  const findLinked = () => (location.hash.startsWith("#structure=") ? decodeURIComponent(location.hash.slice(11)) : "");

  function save(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }
  for (const [format, write] of [["xyz", geometry.writeXyz], ["cif", geometry.writeCif]]) place(`save-${format}`).addEventListener("click", () => save(write(all[at]), `${all[at].id.replace("/", "-")}.${format}`));

  const turns = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] }, zooms = { "+": 1.15, "-": 1 / 1.15 };
  scene.addEventListener("keydown", (event) => {
    if (!viewer || !(event.key in turns || event.key in zooms)) return;
    event.preventDefault();
    if (event.key in turns) viewer.rotate(...turns[event.key]);
    else viewer.zoom(zooms[event.key]);
    viewer.render();
  });
  copyWith(place("link"), () => `${location.href.split("#")[0]}#structure=${encodeURIComponent(all[at].id)}`);
  for (const control of [search, group]) control.addEventListener("input", filter);
  for (const list of [place("map-x"), place("map-y")]) list.addEventListener("change", () => drawMap(new Set(found), at));
  for (const link of document.querySelectorAll("[data-source]")) link.addEventListener("click", () => { search.value = ""; group.value = `source ${link.dataset.source}`; filter(); });
  for (const link of document.querySelectorAll("[data-structure]")) if (link.tagName === "A") link.addEventListener("click", () => showById(link.dataset.structure));
  arrows.addEventListener("change", () => show(at));
  choice.addEventListener("change", () => show(Number(choice.value)));
  place("previous").addEventListener("click", () => step(-1));
  place("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", () => showById(findLinked()));
  list();
  show(0);
  if (findLinked()) showById(findLinked());
})();
