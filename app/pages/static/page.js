// Draws the charts of an experiment's page. The tables beside them hold the same data.
(() => {
  "use strict";

  const charts = JSON.parse(document.getElementById("data").textContent);
  const many = 4; // from more variants on each is drawn for itself
  const percent = d3.format("~%");
  const change = (value) => (value > 0 ? "+" : "") + d3.format(",~r")(+(100 * value).toPrecision(3)).replace("-", "−") + "%";
  // Tiny numbers as a power of ten, which ticks have room for.
  const superscript = (exponent) => [...`${exponent}`].map((digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
  const scientific = (value) => {
    const [mantissa, exponent] = value.toExponential(3).split("e");
    return value ? `${+mantissa} × 10${superscript(+exponent)}` : "0";
  };
  const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  // In the order of the shapes of the legend.
  const symbols = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
  const dashes = ["none", "7 3", "2 3"];

  // The legend defines the mark of each variant: its color and its shape.
  const places = new Map();
  for (const item of document.querySelectorAll(".legend li"))
    places.set(item.textContent.trim(), Number(item.querySelector(".swatch").dataset.place));
  const place = (variant) => places.get(variant) ?? 0;
  const color = (variant) => `var(--v${place(variant) % 10})`;
  const symbol = (variant) => symbols[place(variant) % symbols.length];
  const dash = (variant) => (place(variant) < 2 ? "none" : dashes[place(variant) % dashes.length]);
  const toDate = (day) => new Date(day.replace(" ", "T") + (day.length > 10 ? "Z" : ""));
  const unique = (values) => [...new Set(values)];
  const heading = (texts, options) => Plot.text(texts, { text: (one) => short(`${one}`, 44), frameAnchor: "top-left", dy: -15, fontWeight: 600, ...options });
  // The value that a pointer is near to: it is told below the chart.
  const near = (points, options, pointer = Plot.pointer) => Plot.dot(points, pointer({ r: 6, stroke: "currentColor", ...options }));

  // Small pictures side by side: where each variant stands.
  const grid = (variants, width) => {
    const columns = Math.max(2, Math.min(4, Math.floor(width / 230)));
    return {
      rows: Math.ceil(variants.length / columns),
      fx: (one) => variants.indexOf(one.variant) % columns,
      fy: (one) => Math.floor(variants.indexOf(one.variant) / columns),
      titles: variants.map((variant) => ({ variant })),
    };
  };

  const overTime = (width) => ({
    className: "plot",
    width,
    height: 290,
    marginLeft: 56,
    marginRight: 14,
    marginTop: 28,
    marginBottom: 48,
    x: { type: "utc", label: "day", labelOffset: 44, ticks: width / 90 },
  });
  const facets = (rows, width) => ({
    height: 58 + rows * 130,
    marginBottom: 48,
    x: { type: "utc", label: "day", labelOffset: 44, ticks: 3 },
    fx: { axis: null, padding: 0.08 },
    fy: { axis: null, padding: 0.25 },
    marginTop: 34,
    width,
  });

  const draw = {
    densities({ isShare, measure, baseline, curves }, width) {
      const isMany = curves.length > many;
      const fy = isMany ? "variant" : undefined;
      const largest = d3.max(curves, ({ x }) => Math.max(Math.abs(x[0]), Math.abs(x.at(-1))));
      const isExtreme = largest < 1e-3 || largest >= 1e9;
      const points = curves.flatMap(({ variant, row, x, y }) => d3.zip(x, y).map(([at, high]) => ({ variant, row, x: at, y: high })));
      const reference = curves.find((curve) => curve.variant === baseline);
      return Plot.plot({
        className: "plot",
        width,
        height: isMany ? 60 + curves.length * 40 : 280,
        marginLeft: isMany ? Math.min(150, width / 3) : 10,
        marginRight: 14,
        marginBottom: 42,
        x: { label: measure, tickFormat: isShare ? percent : isExtreme ? scientific : undefined, ticks: width / (isExtreme ? 130 : 90) },
        y: { axis: null, domain: [0, 1.05 * d3.max(points, ({ y }) => y)] },
        fy: { label: null, domain: curves.map(({ variant }) => variant), tickFormat: (key) => short(key, 18), axis: isMany ? "left" : null },
        marks: [
          isMany && reference ? Plot.ruleX([reference.mean], { strokeOpacity: 0.5 }) : null,
          ...curves.flatMap(({ variant, mean }) => {
            const own = points.filter((point) => point.variant === variant);
            return [
              Plot.areaY(own, { fy, x: "x", y: "y", fill: color(variant), fillOpacity: 0.16 }),
              Plot.lineY(own, { fy, x: "x", y: "y", stroke: color(variant), strokeWidth: 2, strokeDasharray: dash(variant) }),
              Plot.ruleX([{ variant, mean }], { fy, x: "mean", stroke: color(variant), strokeDasharray: "2 2", strokeOpacity: 0.8 }),
              Plot.dot([{ variant, mean }], { fy, x: "mean", y: 0, r: 5, symbol: symbol(variant), fill: color(variant), stroke: "var(--card)" }),
            ];
          }),
          Plot.ruleY([0]),
          near(points, { fy, x: "x", y: "y" }),
        ],
      });
    },

    // A picture for each metric, because each has an axis of its own.
    differences({ baseline, rows }, width) {
      return [...d3.group(rows, (row) => row.of)].map(([metric, own]) => {
        const variants = own.map((row) => row.variant);
        const height = variants.length > many ? 24 : 30;
        const marginLeft = Math.min(130, width / 3);
        const ends = own.flatMap((row) => [0, row.change, ...(row.anytime ?? []), ...(row.credible ?? [])]);
        const bar = (key, strokeWidth, strokeOpacity) => own.filter((row) => row[key]).map((row) =>
          Plot.ruleY([row], { y: "variant", x1: row[key][0], x2: row[key][1], stroke: color(row.variant), strokeWidth, strokeOpacity }));
        return Plot.plot({
          className: "plot",
          width,
          height: 72 + variants.length * height,
          marginLeft,
          marginRight: 20,
          marginTop: 26,
          marginBottom: 40,
          x: { label: `change against ${short(baseline, 24)}`, tickFormat: change, ticks: width / 110, domain: d3.extent(ends), nice: true, grid: true },
          y: { type: "band", label: null, domain: variants, tickSize: 0, tickFormat: (key) => short(key, width < 400 ? 12 : 18) },
          marks: [
            Plot.ruleX([0], { strokeWidth: 1.5 }),
            ...bar("anytime", 2, 0.75),
            ...bar("credible", 9, 0.55),
            ...own.map((row) => Plot.dot([row], { y: "variant", x: "change", r: 5, symbol: symbol(row.variant), fill: color(row.variant), stroke: "var(--card)" })),
            heading([metric], { text: (name) => short(name, Math.floor(width / 7)), dx: -marginLeft }),
            near(own, { x: "change", y: "variant", r: 8 }, Plot.pointerY),
          ],
        });
      });
    },

    days({ baseline, rows }, width, figure) {
      const points = rows.map((row) => ({ ...row, day: toDate(row.day), low: row.band?.[0], high: row.band?.[1] }));
      const variants = unique(points.map((point) => point.variant));
      // Intervals of the first days are very wide: the axis is that of the later days, and marks show where it cuts.
      const days = unique(points.map((point) => +point.day));
      const from = days[Math.floor(days.length / 2)];
      const last = days.at(-1);
      const later = points.filter((point) => +point.day >= from);
      const [low, high] = d3.nice(...d3.extent(later.flatMap((point) => [0, point.change, point.low, point.high]).filter((one) => one !== undefined)), 5);
      const above = points.filter((point) => Math.max(point.high ?? point.change, point.change) > high);
      const below = points.filter((point) => Math.min(point.low ?? point.change, point.change) < low);
      figure.querySelector(".cut").hidden = !above.length && !below.length;
      const isMany = variants.length >= many;
      const { fx, fy, rows: lines, titles } = isMany ? grid(variants, width) : {};
      const beyond = (cut, y, rotate) => Plot.dot(cut, { fx, fy, x: "day", y, symbol: "triangle", rotate, r: 3, fill: (one) => color(one.variant) });
      return Plot.plot({
        ...overTime(width),
        ...(isMany ? facets(lines, width) : {}),
        y: { label: `change against ${short(baseline, 24)}`, tickFormat: change, domain: [low, high], grid: true, ticks: isMany ? 3 : 6 },
        marks: [
          Plot.ruleY([0], { strokeWidth: 1.5 }),
          ...[...d3.group(points, (point) => point.variant)].flatMap(([variant, all]) => [
            Plot.areaY(all.filter((one) => one.band), { fx, fy, x: "day", y1: "low", y2: "high", fill: color(variant), fillOpacity: 0.18, clip: true }),
            Plot.lineY(all, { fx, fy, x: "day", y: "change", stroke: color(variant), strokeWidth: 2, strokeDasharray: isMany ? "none" : dash(variant), clip: true }),
            Plot.ruleX(all.filter((one) => one.band && +one.day === last), { fx, fy, x: "day", y1: (one) => Math.max(low, one.low), y2: (one) => Math.min(high, one.high), stroke: color(variant), strokeWidth: 2 }),
            Plot.dot(all.filter((one) => +one.day === last), { fx, fy, x: "day", y: "change", r: 5, symbol: symbol(variant), fill: color(variant), stroke: "var(--card)" }),
          ]),
          beyond(above, high, 0),
          beyond(below, low, 180),
          isMany ? heading(titles, { fx, fy, text: ({ variant }) => short(variant, 26), dy: -14 }) : null,
          near(points.filter((one) => low <= one.change && one.change <= high), { fx, fy, x: "day", y: "change", maxRadius: 60 }),
        ],
      });
    },

    exposures({ variants, step, unit, bars, planned }, width) {
      const next = (day) => new Date(+toDate(day) + step * 86_400_000);
      const placed = (row) => ({ ...row, x1: toDate(row.day), x2: next(row.day), middle: new Date((+toDate(row.day) + +next(row.day)) / 2) });
      const isMany = variants.length > many;
      const { fx, fy, rows: lines, titles } = isMany ? grid(variants, width) : {};
      const all = bars.map(placed);
      const days = [...d3.rollup(all, (own) => ({ ...own[0], count: d3.sum(own, (bar) => bar.count) }), (bar) => bar.day).values()];
      const insets = { x1: "x1", x2: "x2", insetLeft: 0.5, insetRight: 0.5, fill: (bar) => color(bar.variant), fillOpacity: 0.85 };
      return Plot.plot({
        ...overTime(width),
        ...(isMany ? facets(lines, width) : {}),
        y: { label: `new ${unit}`, grid: true, ticks: isMany ? 3 : 6 },
        marks: [
          isMany
            ? Plot.rectY(all, { ...insets, fx, fy, y1: 0, y2: "count" })
            : Plot.rectY(all, { ...insets, y: "count", z: "variant", order: variants }),
          isMany
            ? Plot.ruleY(all, { fx, fy, x1: "x1", x2: "x2", y: "planned", stroke: "currentColor", strokeWidth: 2 })
            : Plot.ruleY(planned.map(placed), { x1: "x1", x2: "x2", y: "count", stroke: "currentColor", strokeWidth: 2 }),
          Plot.ruleY([0]),
          isMany ? heading(titles, { fx, fy, text: ({ variant }) => short(variant, 26), dy: -14 }) : null,
          isMany ? near(all, { fx, fy, x: "middle", y: "count" }) : near(days, { x: "middle", y: "count", r: 4 }, Plot.pointerX),
        ],
      });
    },

    funnel({ bars }, width) {
      const steps = unique(bars.map((bar) => bar.step));
      const names = new Map(bars.map((bar) => [bar.step, `${bar.step}. ${bar.name}`]));
      const variants = unique(bars.map((bar) => bar.variant));
      const shown = d3.format(",");
      const height = variants.length > many ? 18 : 24;
      return Plot.plot({
        className: "plot",
        width,
        height: 16 + steps.length * (26 + variants.length * height),
        marginLeft: 2,
        marginRight: Math.min(190, width / 2.2),
        marginTop: 26,
        marginBottom: 4,
        x: { axis: null, domain: [0, 1] },
        y: { axis: null, domain: variants, padding: 0.15 },
        fy: { axis: null, domain: steps, padding: 26 / (26 + variants.length * height) },
        marks: [
          Plot.barX(bars, { fy: "step", y: "variant", x1: 0, x2: 1, fill: "currentColor", fillOpacity: 0.06 }),
          Plot.barX(bars, { fy: "step", y: "variant", x: "share", fill: (bar) => color(bar.variant) }),
          Plot.text(bars, {
            fy: "step", y: "variant", x: "share", dx: 6, textAnchor: "start",
            text: (bar) => `${d3.format(bar.share < 0.1 ? ".2%" : ".1%")(bar.share)} (${shown(bar.count)}) ${short(bar.variant, width < 400 ? 8 : 14)}`,
          }),
          heading(steps, { fy: (step) => step, text: (step) => short(names.get(step), Math.floor(width / 8)) }),
          near(bars, { fy: "step", x: "share", y: "variant", r: 3 }, Plot.pointerY),
        ],
      });
    },
  };

  // Tells the values of one row of a chart's table, by its headings.
  function tell(figure, row) {
    const table = figure.querySelector("details table");
    const cells = [...(table.tBodies[0].rows[row]?.cells ?? [])].map((cell) => cell.textContent);
    const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const own = cells.map((cell, index) => (index && !/variant/i.test(headings[index]) ? `${headings[index]} ${cell}` : cell));
    figure.querySelector(".readout").textContent = own.join(" · ");
    figure.dataset.row = row;
  }

  // With the keyboard the rows are told one after the other.
  function step(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const figure = event.currentTarget.closest("figure");
    const last = figure.querySelector("details table").tBodies[0].rows.length - 1;
    const next = Number(figure.dataset.row ?? (steps[event.key] > 0 ? -1 : last + 1)) + steps[event.key];
    tell(figure, Math.min(last, Math.max(0, next)));
  }

  function show(figure) {
    const place = figure.querySelector(".chart");
    const { kind } = figure.dataset;
    // An empty element has no width of its own.
    const style = getComputedStyle(figure);
    const width = Math.floor(figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
    if (width <= 0 || Number(place.dataset.width) === width) return;
    const pictures = [draw[kind](charts[figure.dataset.place], width, figure)].flat();
    for (const picture of pictures) {
      // To a screen reader a picture is one image: remove the names that the library gives its parts.
      for (const part of picture.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-labelledby", `title-${kind}`);
      picture.setAttribute("aria-describedby", `says-${kind}`);
      picture.addEventListener("input", () => picture.value && tell(figure, picture.value.row));
    }
    place.dataset.width = width;
    place.replaceChildren(...pictures);
  }

  const watcher = new ResizeObserver((entries) => entries.forEach((entry) => show(entry.target)));
  for (const figure of document.querySelectorAll("figure")) {
    const place = figure.querySelector(".chart");
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Values of the chart: use the arrow keys");
    place.addEventListener("keydown", step);
    show(figure);
    watcher.observe(figure);
  }
})();
