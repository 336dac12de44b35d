// Reads and searches the guide in headless Chromium, and prints what was seen.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const task = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(`${task.modules}/`);
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const seen = { complaints: [], foreign: [], backgrounds: {}, pictures: {}, violations: [] };

async function look(page) {
  await page.evaluate(axe);
  // The theme's script wraps each button that copies code in a landmark without a name.
  const rules = { "landmark-unique": { enabled: false } };
  const found = await page.evaluate((chosen) => globalThis.axe.run({ rules: chosen }).then(({ violations }) => violations), rules);
  seen.violations.push(...found.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${page.url()} ${id}: ${html}`)));
}

for (const colorScheme of ["light", "dark"]) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(120_000);
  page.on("console", (message) => seen.complaints.push(message.text()));
  page.on("pageerror", (error) => seen.complaints.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(task.address) && !request.url().startsWith("data:")) seen.foreign.push(request.url());
  });
  await page.goto(`${task.address}/guide/explanation/peeking/`);
  seen.backgrounds[colorScheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  seen.pictures[colorScheme] = await page.evaluate(() =>
    [...document.querySelectorAll("article img")]
      .filter((image) => image.getBoundingClientRect().width > 0 && image.naturalWidth > 0)
      .map((image) => image.getAttribute("src").replace(/.*\/|#.*/g, "")));
  await look(page);
  await page.click("[data-md-component=search-query]");
  await page.keyboard.type("winsorizing");
  const found = page.locator(".md-search-result__link").filter({ hasText: "Metrics" });
  await found.first().click();
  await page.waitForURL("**/guide/reference/metrics/**");
  seen.heading = (await page.locator("article h1").innerText()).replace(/\W/g, "");
  await look(page);
  for (const path of ["", "tutorial/first-experiment/", "reference/limits/"]) {
    await page.goto(`${task.address}/guide/${path}`);
    await look(page);
  }
  await page.close();
}
await browser.close();
console.log(JSON.stringify(seen));
