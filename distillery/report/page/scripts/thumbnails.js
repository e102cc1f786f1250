// Pictures of structures, drawn one after another by one viewer out of sight, and only those that are in view.
"use strict";
const NOTHING_YET = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
const makePictures = (list, more, choose) => {
  const AT_ONCE = 48, waiting = [];
  let painter = null, busy = false, shown = [], n = AT_ONCE;

  function paint(image) {
    const structure = carried.structures[Number(image.dataset.structure)];
    drawer.draw(painter, structure, false);
    drawer.turnTowardsUs(painter);
    painter.render();
    image.src = painter.pngURI();
  }

  function work() {
    busy = waiting.length > 0;
    if (!busy) return;
    const image = waiting.shift();
    if (image.isConnected) paint(image);
    requestAnimationFrame(work);
  }

  function begin() {
    if (painter === null) {
      const place = document.createElement("div");
      place.className = "painter";
      place.setAttribute("aria-hidden", "true");
      document.body.append(place);
      painter = drawer.makeViewer(place) || false;
    }
    if (painter && !busy) { busy = true; requestAnimationFrame(work); }
  }

  const near = new IntersectionObserver((seen) => {
    for (const one of seen) if (one.isIntersecting) { near.unobserve(one.target); waiting.push(one.target); }
    if (waiting.length) begin();
  }, { rootMargin: "100px" });

  function makeItem(k) {
    const structure = carried.structures[k], item = document.createElement("li"), button = document.createElement("button"), image = document.createElement("img"), label = document.createElement("span");
    image.alt = "";
    image.src = NOTHING_YET;
    image.dataset.structure = k;
    image.width = 150;
    image.height = 110;
    button.type = "button";
    button.title = structure.id;
    label.textContent = structure.formula;
    button.append(image, label);
    button.addEventListener("click", () => choose(k));
    item.append(button);
    near.observe(image);
    return item;
  }

  function fill(structures) {
    if (structures) { shown = structures; n = AT_ONCE; list.replaceChildren(); }
    while (list.children.length < Math.min(n, shown.length)) list.append(makeItem(shown[list.children.length]));
    more.hidden = n >= shown.length;
    more.textContent = `${Math.min(AT_ONCE, shown.length - n)} more of ${shown.length}`;
  }
  more.addEventListener("click", () => { n += AT_ONCE; fill(null); });
  return fill;
};
