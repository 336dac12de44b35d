// Signs in to an experiment's page in headless Chromium and photographs the upper part of it.
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
  const page = await browser.newPage({ colorScheme: "light", viewport: { width: task.width, height: 900 } });
  await page.goto(task.page);
  await page.fill("#key", task.key);
  await page.press("#key", "Enter");
  await page.waitForSelector(".verdict");
  await page.waitForSelector("figure .picture > svg");
  // Down to the end of the first charts.
  const chart = await page.locator("figure").first().boundingBox();
  const clip = { x: 0, y: 0, width: task.width, height: Math.ceil(chart.y + chart.height + 16) };
  await page.screenshot({ path: task.picture, animations: "disabled", fullPage: true, clip });
} finally {
  await browser.close();
}
