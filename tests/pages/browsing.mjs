// A headless Chromium that notes what it sees: errors, requests to other hosts, and what axe finds on a page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export async function begin() {
  const task = JSON.parse(readFileSync(0, "utf8"));
  const require = createRequire(`${task.modules}/`);
  const { chromium } = require("playwright-core");
  const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

  const browser = await chromium.launch({
    executablePath: task.chromium,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  const seen = { complaints: [], foreign: [], pages: {} };

  async function visitor(options) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
    });
    page.on("pageerror", (error) => seen.complaints.push(error.message));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(task.address) && !url.startsWith("data:") && url !== task.report) seen.foreign.push(url);
    });
    return page;
}

  async function look(page, name) {
    await page.evaluate(axe);
    seen.pages[name] = await page.evaluate(async () => {
      const results = await globalThis.axe.run();
      const box = (chart) => chart.getBoundingClientRect();
      return {
        path: location.pathname,
        heading: document.querySelector("h1").textContent,
        verdict: document.querySelector(".verdict h2")?.textContent.trim().replace(/\s+/g, " ") ?? null,
        charts: [...document.querySelectorAll("figure")].map((figure) => {
          const chart = figure.querySelector(".chart > svg[role=img]");
          const name = document.getElementById(chart?.getAttribute("aria-labelledby"))?.textContent;
          return { kind: figure.dataset.kind, name, wide: chart !== null && box(chart).width > 200, marks: chart?.querySelectorAll("path, rect, line, circle").length };
        }),
        violations: results.violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`),
        background: getComputedStyle(document.body).backgroundColor,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      };
    });
}

  return { task, seen, browser, visitor, look };
}
