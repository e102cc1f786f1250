// The map of structures: a point each, across and up by what one chooses; a click tells which.
"use strict";
const makeMap = (place, across, up, choose) => {
  const axes = carried.axes, all = carried.structures;
  const colours = new Map([...document.querySelectorAll(".source")].map((card) => [card.id.slice("source-".length), card.querySelector(".dot").style.background]));
  for (const list of [across, up]) for (const axis of axes) list.append(new Option(axis.title, axis.key));
  const has = (key) => axes.some((axis) => axis.key === key);
  across.value = has("n_atoms") ? "n_atoms" : axes[0]?.key;
  up.value = has("force") ? "force" : axes[0]?.key;

  function drawAxis(key) {
    const axis = axes.find((one) => one.key === key);
    return { title: { text: axis.title, standoff: 8 }, type: axis.log ? "log" : "linear", gridcolor: "#e6e9ed", zerolinecolor: "#e6e9ed", automargin: true };
  }

  // Arrow keys go from point to point: right and left by what is across, up and down by what is up.
  let shown = new Set(), selected = -1;
  function step(key, by) {
    const [first, then] = key === across.value ? [key, up.value] : [key, across.value];
    const order = [...shown].filter((k) => first in all[k].values && then in all[k].values)
      .sort((a, b) => all[a].values[first] - all[b].values[first] || all[a].values[then] - all[b].values[then] || a - b);
    const now = order.indexOf(selected), next = Math.min(Math.max(now + by, 0), order.length - 1);
    if (order.length) choose(order[next]);
  }
  const keys = { ArrowRight: () => step(across.value, 1), ArrowLeft: () => step(across.value, -1), ArrowUp: () => step(up.value, 1), ArrowDown: () => step(up.value, -1), Home: () => step(across.value, -Infinity), End: () => step(across.value, Infinity) };
  place.addEventListener("keydown", (event) => { if (event.key in keys) { event.preventDefault(); keys[event.key](); } });

  function draw(nowShown, nowSelected) {
    [shown, selected] = [nowShown, nowSelected];
    if (!axes.length) return;
    const x = across.value, y = up.value, value = (s, key) => s.values[key] ?? null;
    const traces = [...colours.keys()].map((source) => {
      const own = all.map((s, k) => k).filter((k) => all[k].source === source && x in all[k].values && y in all[k].values);
      return {
        type: "scatter", mode: "markers", name: source, x: own.map((k) => value(all[k], x)), y: own.map((k) => value(all[k], y)), customdata: own,
        text: own.map((k) => `${all[k].formula}<br>${all[k].id}`), hovertemplate: "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        marker: { color: colours.get(source), size: 8, opacity: own.map((k) => (shown.has(k) ? 0.85 : 0.1)) },
      };
    });
    const one = all[selected];
    if (one && x in one.values && y in one.values) traces.push({
      type: "scatter", mode: "markers", x: [value(one, x)], y: [value(one, y)], hoverinfo: "skip", showlegend: false,
      marker: { size: 17, color: "rgba(0,0,0,0)", line: { color: "#cf4b3f", width: 3 } },
    });
    const layout = {
      template: "none", height: 430, margin: { l: 60, r: 10, t: 30, b: 50 }, hovermode: "closest", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, xaxis: drawAxis(x), yaxis: drawAxis(y),
    };
    Plotly.react(place, traces, layout, { responsive: true, displayModeBar: false });
    if (!place.dataset.drawn) {
      place.dataset.drawn = "yes";
      place.on("plotly_click", (event) => { const k = event.points[0].customdata; if (k !== undefined) choose(k); });
    }
  }
  return draw;
};
