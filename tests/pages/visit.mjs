// Visits pages in headless Chromium, with the keyboard where people may have nothing else, and prints what was seen.
import { begin } from "./browsing.mjs";

const { task, seen, browser, visitor, look } = await begin();

const text = (page, selector) => page.locator(selector).first().innerText();

// By keyboard alone: a wrong key, the right one, the table beside a chart.
const page = await visitor({ colorScheme: "light", viewport: { width: 1280, height: 900 } });
await page.goto(task.address + task.experiments.funnel);
await look(page, "sign-in");
await page.keyboard.type("phx_wrong");
await page.keyboard.press("Enter");
await page.waitForSelector("[role=alert]");
seen.alert = await text(page, "[role=alert]");
await look(page, "refused");
await page.keyboard.type(task.key);
await page.keyboard.press("Enter");
await page.waitForSelector(".verdict");
await look(page, "funnel");
await page.keyboard.press("Tab");
seen.first = await page.evaluate(() => document.activeElement.textContent);
await page.locator("summary").first().focus();
await page.keyboard.press("Enter");
seen.table = await text(page, "details[open] table");

// The values of a chart: by keyboard, and under the pointer.
await page.locator(".densities .chart").focus();
await page.keyboard.press("ArrowRight");
await page.keyboard.press("ArrowRight");
seen.told = await text(page, ".densities .readout");
await page.locator(".funnel .chart svg").hover({ position: { x: 40, y: 40 } });
seen.pointed = await text(page, ".funnel .readout");

for (const [name, path] of Object.entries(task.experiments)) {
  if (name === "funnel") continue;
  await page.goto(task.address + path);
  await look(page, name);
}
await page.click("nav a:not(.brand)");
await page.waitForSelector(".experiments");
await look(page, "list");
seen.listed = await page.locator(".experiments h2").allInnerTexts();
seen.readable = await page.evaluate(() => document.cookie);

// In the dark on a phone, with the same cookie.
const phone = await visitor({
  colorScheme: "dark",
  viewport: { width: 360, height: 740 },
  storageState: await page.context().storageState(),
});
for (const [name, path] of [...Object.entries(task.experiments), ["list", task.list]]) {
  await phone.goto(task.address + path);
  await look(phone, `${name}, dark`);
}

await phone.emulateMedia({ media: "print" });
seen.paper = await phone.evaluate(() => getComputedStyle(document.body).backgroundColor);

await page.click("text=Sign out");
await page.waitForSelector("#key");
seen.after = await text(page, "h1");

const reader = await visitor({ colorScheme: "light", viewport: { width: 1000, height: 900 } });
await reader.goto(task.report);
await look(reader, "report");

await browser.close();
console.log(JSON.stringify(seen));
