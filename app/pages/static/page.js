// Draws the charts of an experiment's page. The tables beside them hold the same data.
(() => {
  "use strict";

  const charts = JSON.parse(document.getElementById("data").textContent);
  const percent = d3.format("~%");
  const change = (value) => (value > 0 ? "+" : "") + percent(value).replace("-", "−");
  const dashes = ["none", "none", "7 3", "2 3", "9 3 2 3", "none", "7 3", "2 3"];

  // The swatches of the legend define the color of each variant.
  const places = new Map();
  for (const item of document.querySelectorAll(".legend li")) {
    const [, place] = item.querySelector(".swatch").className.match(/v(\d)/);
    places.set(item.textContent.trim(), Number(place));
  }
  const color = (variant) => `var(--v${places.get(variant) ?? 0})`;
  const dash = (variant) => dashes[places.get(variant) ?? 0];
  const toDate = (day) => new Date(day.replace(" ", "T") + (day.length > 10 ? "Z" : ""));

  const overTime = (width) => ({
    className: "plot",
    width,
    height: 290,
    marginLeft: 52,
    marginRight: 14,
    marginTop: 28,
    x: { type: "utc", label: null, ticks: width / 90 },
  });

  const draw = {
    densities({ isShare, measure, curves }, width) {
      return Plot.plot({
        className: "plot",
        width,
        height: 280,
        marginLeft: 10,
        marginRight: 14,
        marginBottom: 42,
        x: { label: measure, tickFormat: isShare ? percent : undefined, ticks: width / 90 },
        y: { axis: null, domain: [0, 1.05 * d3.max(curves, ({ y }) => d3.max(y))] },
        marks: [
          ...curves.flatMap(({ variant, x, y }) => {
            const points = d3.zip(x, y);
            return [
              Plot.areaY(points, { x: "0", y: "1", fill: color(variant), fillOpacity: 0.16 }),
              Plot.lineY(points, { x: "0", y: "1", stroke: color(variant), strokeWidth: 2, strokeDasharray: dash(variant) }),
            ];
          }),
          ...curves.map(({ variant, mean }) =>
            Plot.ruleX([mean], { stroke: color(variant), strokeDasharray: "2 2", strokeOpacity: 0.8 })),
          Plot.ruleY([0]),
        ],
      });
    },

    differences({ baseline, rows }, width) {
      const metrics = [...new Set(rows.map((row) => row.metric))];
      const variants = [...new Set(rows.map((row) => row.variant))];
      const ends = rows.flatMap((row) => [0, row.change, ...(row.anytime ?? []), ...(row.credible ?? [])]);
      const bar = (key, strokeWidth, strokeOpacity) => rows.filter((row) => row[key]).map((row) =>
        Plot.ruleY([row], {
          fy: "metric", y: "variant", x1: row[key][0], x2: row[key][1], stroke: color(row.variant), strokeWidth, strokeOpacity,
        }));
      return Plot.plot({
        className: "plot",
        width,
        height: 70 + metrics.length * (26 + variants.length * 30),
        marginLeft: 12,
        marginRight: 14,
        marginTop: 26,
        marginBottom: 40,
        x: { label: `change against ${baseline}`, tickFormat: change, ticks: width / 90, domain: d3.extent(ends), nice: true, grid: true },
        y: { type: "band", axis: null, domain: variants },
        fy: { axis: null, domain: metrics, padding: 26 / (26 + variants.length * 30) },
        marks: [
          Plot.ruleX([0], { strokeWidth: 1.5 }),
          ...bar("anytime", 2, 0.75),
          ...bar("credible", 9, 0.55),
          ...rows.map((row) => Plot.dot([row], { fy: "metric", y: "variant", x: "change", r: 5, fill: color(row.variant), stroke: "var(--card)" })),
          Plot.text(metrics, { fy: (metric) => metric, text: (metric) => metric, frameAnchor: "top-left", dy: -15, fontWeight: 600 }),
        ],
      });
    },

    days({ baseline, rows }, width) {
      const points = rows.map((row) => ({ ...row, day: toDate(row.day), low: row.band?.[0], high: row.band?.[1] }));
      const banded = points.filter((point) => point.band);
      const groups = [...d3.group(points, (point) => point.variant)];
      // Intervals of the first days are very wide: the chart is scaled to the later days, and wider bands are clipped.
      const days = [...new Set(points.map((point) => +point.day))];
      const from = days[Math.floor(days.length / 2)];
      const later = points.filter((point) => +point.day >= from);
      const [low, high] = d3.extent(later.flatMap((point) => [0, point.change, point.low, point.high]).filter((one) => one !== undefined));
      const last = days.at(-1);
      return Plot.plot({
        ...overTime(width),
        y: { label: `change against ${baseline}`, tickFormat: change, domain: [low, high], nice: true, grid: true },
        marks: [
          Plot.ruleY([0], { strokeWidth: 1.5 }),
          ...groups.flatMap(([variant, all]) => [
            Plot.areaY(all.filter((one) => one.band), { x: "day", y1: "low", y2: "high", fill: color(variant), fillOpacity: 0.18, clip: true }),
            Plot.lineY(all, { x: "day", y: "change", stroke: color(variant), strokeWidth: 2, strokeDasharray: dash(variant), clip: true }),
            Plot.ruleX(banded.filter((one) => one.variant === variant && +one.day === last), { x: "day", y1: "low", y2: "high", stroke: color(variant), strokeWidth: 2 }),
            Plot.dot(all.filter((one) => +one.day === last), { x: "day", y: "change", r: 4, fill: color(variant) }),
          ]),
        ],
      });
    },

    exposures({ variants, step, unit, bars, planned }, width) {
      const next = (day) => new Date(+toDate(day) + step * 86_400_000);
      const placed = (row) => ({ ...row, x1: toDate(row.day), x2: next(row.day) });
      return Plot.plot({
        ...overTime(width),
        y: { label: `new ${unit}`, grid: true, ticks: 6 },
        marks: [
          Plot.rectY(bars.map(placed), {
            x1: "x1", x2: "x2", y: "count", z: "variant", order: variants, insetLeft: 0.5, insetRight: 0.5,
            fill: (bar) => color(bar.variant), fillOpacity: 0.85,
          }),
          Plot.ruleY(planned.map(placed), { x1: "x1", x2: "x2", y: "count", stroke: "currentColor", strokeWidth: 2 }),
          Plot.ruleY([0]),
        ],
      });
    },

    funnel({ bars }, width) {
      const steps = [...new Set(bars.map((bar) => bar.step))];
      const names = new Map(bars.map((bar) => [bar.step, `${bar.step}. ${bar.name}`]));
      const variants = [...new Set(bars.map((bar) => bar.variant))];
      const shown = d3.format(",");
      return Plot.plot({
        className: "plot",
        width,
        height: 16 + steps.length * (26 + variants.length * 24),
        marginLeft: 2,
        marginRight: Math.min(120, width / 3),
        marginTop: 26,
        marginBottom: 4,
        x: { axis: null, domain: [0, 1] },
        y: { axis: null, domain: variants, padding: 0.15 },
        fy: { axis: null, domain: steps, padding: 26 / (26 + variants.length * 24) },
        marks: [
          Plot.barX(bars, { fy: "step", y: "variant", x1: 0, x2: 1, fill: "currentColor", fillOpacity: 0.06 }),
          Plot.barX(bars, { fy: "step", y: "variant", x: "share", fill: (bar) => color(bar.variant) }),
          Plot.text(bars, {
            fy: "step", y: "variant", x: "share", dx: 6, textAnchor: "start",
            text: (bar) => `${d3.format(bar.share < 0.1 ? ".2%" : ".1%")(bar.share)} (${shown(bar.count)})`,
          }),
          Plot.text(steps, { fy: (step) => step, text: (step) => names.get(step), frameAnchor: "top-left", dy: -15, fontWeight: 600 }),
        ],
      });
    },
  };

  function show(figure) {
    const place = figure.querySelector(".chart");
    const { kind } = figure.dataset;
    // An empty element has no width of its own.
    const style = getComputedStyle(figure);
    const width = Math.floor(figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
    if (width <= 0 || Number(place.dataset.width) === width) return;
    const chart = draw[kind](charts[figure.dataset.place], width);
    // To a screen reader a chart is one image: remove the names that the library gives its parts.
    for (const part of chart.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-labelledby", `title-${kind}`);
    chart.setAttribute("aria-describedby", `about-${kind}`);
    place.dataset.width = width;
    place.replaceChildren(chart);
  }

  const watcher = new ResizeObserver((entries) => entries.forEach((entry) => show(entry.target)));
  for (const figure of document.querySelectorAll("figure")) {
    show(figure);
    watcher.observe(figure);
  }
})();
