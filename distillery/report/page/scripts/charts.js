// Draws every chart of the page from the JSON beside it, when it comes near the window, or is printed.
"use strict";
const figures = JSON.parse(document.getElementById("figures")?.textContent || "{}");
const drawing = { responsive: true, displayModeBar: false };
const drawChart = (name) => {
  const place = document.getElementById(`chart-${name}`);
  if (!place.dataset.drawn) {
    place.dataset.drawn = "yes";
    // Plotly sizes its pictures in pixels; with a view box they can be printed at any width.
    const fit = () => {
      for (const picture of place.querySelectorAll(".main-svg")) picture.setAttribute("viewBox", `0 0 ${picture.getAttribute("width")} ${picture.getAttribute("height")}`);
      const box = place.querySelector(".svg-container");
      if (box) box.style.setProperty("--shape", `${box.offsetWidth} / ${box.offsetHeight}`);
    };
    Plotly.newPlot(place, figures[name].data, figures[name].layout, drawing).then(fit);
    place.on("plotly_afterplot", fit);
  }
};
const near = new IntersectionObserver((seen) => {
  for (const one of seen) if (one.isIntersecting) {
    near.unobserve(one.target);
    drawChart(one.target.id.slice("chart-".length));
  }
}, { rootMargin: "600px" });
// Every chart has its height from the start: nothing moves under a pointer as charts are drawn, and links lead where they should.
for (const [name, { layout }] of Object.entries(figures)) {
  const place = document.getElementById(`chart-${name}`);
  place.style.height = `${layout.height}px`;
  near.observe(place);
}
window.addEventListener("beforeprint", () => Object.keys(figures).forEach(drawChart));
