// Signs in to an experiment's page in headless Chromium and photographs it in light and dark colors: the upper part, and
// charts by themselves.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const task = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(`${task.modules}/`)("playwright-core");

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ colorScheme, viewport: { width: task.width, height: 900 } });
    page.setDefaultTimeout(90_000); // the first look counts all events
    await page.goto(task.page);
    await page.fill("#key", task.key);
    await page.press("#key", "Enter");
    await page.waitForSelector(".verdict");
    await page.waitForSelector("figure .chart > svg");
    // Down to the end of the first charts.
    const chart = await page.locator("figure").first().boundingBox();
    const clip = { x: 0, y: 0, width: task.width, height: Math.ceil(chart.y + chart.height + 16) };
    const options = { animations: "disabled" };
    await page.screenshot({ ...options, path: task.pictures[colorScheme].experiment, fullPage: true, clip });
    for (const kind of task.charts) {
      const path = task.pictures[colorScheme][kind];
      await page.locator(`figure[data-kind=${kind}]`).first().screenshot({ ...options, path });
    }
  }
} finally {
  await browser.close();
}
