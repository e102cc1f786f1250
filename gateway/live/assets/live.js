// What htmx does not do by itself: a lost connection is told, a recipe comes from a file, the report is loaded when it is wanted.
"use strict";
(() => {
  const lost = document.getElementById("lost");
  document.body.addEventListener("htmx:sseError", () => { lost.hidden = false; });
  document.body.addEventListener("htmx:sseOpen", () => { lost.hidden = true; });
  document.body.addEventListener("htmx:sendError", () => { lost.hidden = false; });

  // What a button said is over once the state is another than the one that it led to.
  const said = document.getElementById("said");
  let saidAt = 0;
  document.body.addEventListener("htmx:afterSwap", (event) => { if (event.target === said) saidAt = Date.now(); });
  document.body.addEventListener("htmx:sseMessage", (event) => { if (said && event.detail.type === "verbs" && Date.now() - saidAt > 3000) said.replaceChildren(); });

  const recipe = document.getElementById("recipe"), file = document.getElementById("file"), example = document.getElementById("example");
  function fill(text) {
    recipe.value = text;
    recipe.dispatchEvent(new Event("checked", { bubbles: true }));
    recipe.focus();
  }
  if (file) file.addEventListener("change", async () => { if (file.files.length) fill(await file.files[0].text()); file.value = ""; });
  if (example) example.addEventListener("click", () => fill(example.dataset.recipe));

  const embedded = document.getElementById("embedded");
  if (embedded) embedded.addEventListener("toggle", () => {
    if (!embedded.open || embedded.querySelector("iframe")) return;
    const frame = document.createElement("iframe");
    frame.title = "Report of the dataset";
    frame.setAttribute("sandbox", "allow-scripts allow-downloads allow-popups");
    frame.src = embedded.dataset.src;
    embedded.append(frame);
  });
})();
