// Leads experiments through their lives on the pages: by mouse, by keyboard alone, and without JavaScript.
import { begin } from "./browsing.mjs";

const { task, seen, browser, visitor, look } = await begin();
seen.lives = {};

const list = `${task.address}/experiments/${task.project}/`;
const verdict = async (page) => (await page.locator(".verdict h2").innerText()).replace(/\s+/g, " ");
const status = (page) => page.locator(".chips .chip").first().innerText();

async function report(flag) {
  const events = [];
  for (const [variant, buyers] of [["control", 24], ["test", 72]]) {
    for (let number = 0; number < 120; number += 1) {
      const person = { distinct_id: `${flag}-${variant}-${number}`, timestamp: new Date().toISOString() };
      const shown = { $feature_flag: flag, $feature_flag_response: variant };
      events.push({ ...person, event: "$feature_flag_called", properties: shown });
      if (number < buyers) events.push({ ...person, event: "purchase", properties: {} });
    }
  }
  const sent = await fetch(`${task.address}/batch/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ api_key: task.token, batch: events }),
  });
  if (!sent.ok) throw new Error(await sent.text());
}

// By mouse.
async function clickThrough() {
  const page = await visitor({ colorScheme: "light", viewport: { width: 1280, height: 900 } });
  const life = (seen.lives.mouse = []);
  await page.goto(list);
  await page.fill("#key", task.key);
  await page.click("button:has-text(\"Sign in\")");
  await page.click("text=New experiment");
  await look(page, "new");
  await page.fill("#name", "By mouse");
  await page.click("text=Create the draft");
  await page.waitForFunction(() => document.activeElement !== null);
  await page.fill("#flag_key", "mouse");
  await page.click("text=Create the draft");
  await page.waitForSelector("#error-m0_step0");
  await look(page, "errors");
  for (const kind of ["mean", "ratio", "retention", "quantile", "trend_2022", "funnel_2022", "json", "funnel"]) {
    await page.selectOption("#m0_kind", kind);
    seen[`fields of ${kind}`] = await page.locator(".metric :is(input, select, textarea):visible").evaluateAll((all) => all.map((one) => one.name));
  }
  await page.fill("#m0_name", "Purchases");
  await page.fill("#m0_step0", "purchase");
  await page.click("text=Add a metric");
  await page.selectOption("#m1_kind", "mean");
  await page.fill("#m1_event", "refund");
  await page.fill("#per_day", "500");
  await page.fill("#baseline", "20");
  await page.click("text=Use the usual steps");
  await page.click("text=Add a circuit breaker");
  await page.click("text=Show what it counts today");
  await page.waitForSelector("text=Planned:");
  await look(page, "preview");
  await page.click("text=Create the draft");
  life.push(await status(page));
  const address = new URL(page.url()).pathname;
  await look(page, "draft");
  await page.click(".doings >> text=Edit");
  await page.fill("#description", "More people buy.");
  await look(page, "edit");
  await page.click("button:visible >> text=Save");
  await page.click(".doings >> text=Launch");
  await look(page, "launch");
  await page.check("#against");
  await page.click("button:has-text(\"Launch\")");
  life.push(await status(page));
  await report("mouse");
  await page.goto(task.address + address);
  await look(page, "running");
  await page.click(".doings >> text=Pause");
  await page.check("#against");
  await page.click(".question button");
  life.push(await status(page));
  await page.click(".doings >> text=Resume");
  await page.click(".question button");
  life.push(await status(page));
  for (const [link, name] of [["Explore", "explore"], ["History", "history"], ["Share", "share"], ["Code", "code"], ["Flag", "flag"]]) {
    await page.goto(task.address + address);
    await page.click(`nav[aria-label="This experiment"] >> text=${link}`);
    await look(page, name);
  }
  await page.goto(`${task.address}${address}explore/?difference=absolute&level=90&baseline=test`);
  await look(page, "absolute");
  await page.goto(`${task.address}${address}share/`);
  await page.click("button:has-text(\"Make a link\")");
  await look(page, "shared link");
  const shared = await page.inputValue("#made");
  await page.goto(`${task.address}${address}do/ship/`);
  await page.check("input[value=control]");
  await page.click(".question button");
  await page.waitForSelector(".objection");
  await look(page, "objection");
  await page.check("input[value=test]");
  await page.selectOption("#conclusion", "won");
  await page.fill("#conclusion_comment", "Three times as many buy.");
  await page.check("#against");
  await page.click(".question button");
  life.push(await status(page), await verdict(page), await page.locator("blockquote").innerText());
  await look(page, "shipped");
  await page.click("nav[aria-label=\"This experiment\"] >> text=History");
  await page.click("#snapshots >> xpath=../.. >> li a");
  await look(page, "snapshot");
  await page.goto(`${list}flags/`);
  await look(page, "flags");
  await page.click(".experiments a");
  await page.click("text=Edit the conditions");
  await page.click("text=Add a condition");
  await look(page, "conditions");
  await page.fill("#g0c0_key", "plan");
  await page.click("text=Save the conditions");
  await page.waitForSelector("#error-g0c0_value");
  await look(page, "wrong conditions");
  await page.fill("#g0c0_value", "pro");
  await page.click("text=Save the conditions");
  life.push(await page.locator(".releases li > p strong").first().innerText());
  await page.goto(`${list}metrics/new/`);
  await page.fill("#name", "Purchases");
  await page.fill("#m0_step0", "purchase");
  await look(page, "shared metric");
  await page.click("text=Save");
  await look(page, "shared metrics");
  await page.goto(`${list}flags/`);
  await page.click("text=New flag");
  await page.fill("#key", "banner");
  await page.click("text=Add a variant");
  await look(page, "new flag");
  await page.fill("#v0_share", "50");
  await page.click("text=Create the flag");
  await page.waitForSelector("#error-v0_key");
  await look(page, "wrong flag");
  await page.click("[aria-label='Remove variant 1']");
  await page.click("text=Create the flag");
  life.push(await page.locator("h1").innerText());
  await page.click("text=Edit key, variants and payloads");
  await page.click("text=Delete");
  await look(page, "deletion of a flag");
  await page.click("button:has-text(\"Delete\")");
  await page.goto(`${list}holdouts/new/`);
  await page.fill("#name", "Nothing new");
  await look(page, "new holdout");
  await page.click("text=Create the holdout");
  await look(page, "holdouts");
  await page.click("text=What its experiments changed together");
  await look(page, "results of a holdout");
  await page.goto(`${list}cohorts/new/`);
  await page.fill("#name", "Paying");
  await page.fill("#c0_key", "plan");
  await page.fill("#c0_value", "pro");
  await look(page, "new cohort");
  await page.click("text=Create the cohort");
  await look(page, "cohorts");
  await page.goto(`${list}webhooks/new/`);
  await page.fill("#url", "https://hooks.example.com/");
  await page.click("text=Create the webhook");
  await look(page, "webhook with its secret");
  await page.goto(`${list}settings/`);
  await page.click("text=Add a condition");
  await look(page, "settings");
  await page.goto(`${task.address}/experiments/sessions/`);
  await look(page, "sessions");
  const stranger = await visitor({ colorScheme: "light", viewport: { width: 1280, height: 900 } });
  await stranger.goto(shared);
  await look(stranger, "seen by a stranger");
  await stranger.goto(task.link);
  await look(stranger, "sign-in link");
  await stranger.click("button");
  await stranger.waitForSelector(".experiments");

  const phone = await visitor({
    colorScheme: "dark",
    viewport: { width: 320, height: 740 },
    storageState: await page.context().storageState(),
  });
  for (const path of ["edit/", "do/delete/", "explore/", "history/", "share/", "code/", ""]) {
    await phone.goto(`${task.address}${address}${path}`);
    await look(phone, `${path}, dark`);
  }
  const added = ["flags/new/", "holdouts/", "holdouts/1/", "cohorts/", "cohorts/1/", "webhooks/", "webhooks/1/", "settings/"];
  for (const path of ["", "new/", "flags/", "flags/1/", "flags/1/conditions/", "metrics/", "metrics/new/", ...added]) {
    await phone.goto(`${list}${path}`);
    await look(phone, `project ${path}, dark`);
  }
  await phone.goto(`${task.address}/experiments/sessions/`);
  await look(phone, "sessions, dark");
}

// By keyboard alone: Tab to what has a name, then type or press.
async function typeThrough() {
  const page = await visitor({ colorScheme: "light", viewport: { width: 1280, height: 900 } });
  const life = (seen.lives.keyboard = []);
  const reach = async (name) => {
    for (let presses = 0; presses < 120; presses += 1) {
      const here = await page.evaluate(() => {
        const one = document.activeElement;
        return one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent.trim() ?? one.textContent.trim();
      });
      if (here === name) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`the keyboard does not reach ${name} on ${page.url()}`);
  };
  const follow = async (name, selector = "main") => {
    await reach(name);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
    await page.waitForSelector(selector);
  };
  const write = async (name, text) => {
    await reach(name);
    await page.keyboard.type(text);
  };
  const tick = async (name) => {
    await reach(name);
    await page.keyboard.press("Space");
  };
  await page.goto(list);
  await page.waitForFunction(() => document.activeElement.id === "key");
  await page.keyboard.type(task.key);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  await follow("New experiment");
  await write("Name", "By keyboard");
  await write("Key of the flag", "keyboard");
  await write("Step 1", "purchase");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  life.push(await status(page));
  const address = new URL(page.url()).pathname;
  await follow("Launch");
  await tick("I know, and do it all the same.");
  await follow("Launch");
  life.push(await status(page));
  await report("keyboard");
  await page.goto(task.address + address);
  await follow("Ship a variant");
  await reach("control");
  await page.keyboard.press("ArrowDown");
  await follow("Ship a variant", ".objection");
  await tick("I know, and do it all the same.");
  await follow("Ship a variant");
  life.push(await status(page), await verdict(page));
}

// Without JavaScript: rows are added, errors are shown, an experiment is created.
async function submitWithoutScripts() {
  const page = await visitor({ javaScriptEnabled: false });
  await page.goto(list);
  await page.fill("#key", task.key);
  await page.click("button");
  await page.click("text=New experiment");
  await page.fill("#name", "Without scripts");
  await page.fill("#flag_key", "plain");
  await page.fill("#m0_step0", "purchase");
  await page.click("text=Add a variant");
  await page.fill("#v2_key", "huge");
  for (const place of [0, 1, 2]) await page.fill(`#v${place}_share`, "");
  await page.click("text=Create the draft");
  seen.lives.plain = [await status(page), (await page.locator("tbody th").allInnerTexts()).map((text) => text.trim())];
}

await clickThrough();
await typeThrough();
await submitWithoutScripts();
await browser.close();
console.log(JSON.stringify(seen));
