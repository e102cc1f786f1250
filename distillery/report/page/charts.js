// Draws every chart of the page from the JSON beside it.
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { responsive: true, displayModeBar: false };
for (const [name, figure] of Object.entries(figures)) Plotly.newPlot(`chart-${name}`, figure.data, figure.layout, options);
