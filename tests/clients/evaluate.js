// Evaluates flags by posthog-node's own evaluator, without a server: one question a line, one answer a line.
// Usage: node evaluate.js MODULES PACKAGE
const { createRequire } = require("node:module");
const readline = require("node:readline");

const [modules, name] = process.argv.slice(2);
const { PostHog } = createRequire(`${modules}/`)(name);
let definitions = {};

async function fetched(url) {
  const body = String(url).includes("evaluation") || String(url).includes("definitions") ? definitions : {};
  const text = JSON.stringify(body);
  return { status: 200, headers: new Map(), text: async () => text, json: async () => JSON.parse(text) };
}

async function answer(client, question) {
  definitions = question.definitions;
  await client.reloadFeatureFlags();
  const options = {
    groups: question.groups,
    personProperties: question.person_properties,
    groupProperties: question.group_properties,
    onlyEvaluateLocally: true,
    sendFeatureFlagEvents: false,
  };
  const found = {};
  for (const flag of question.flags) {
    const value = await client.getFeatureFlag(flag, question.distinct_id, options);
    if (value === undefined || value === null) continue;
    const payload = value ? await client.getFeatureFlagPayload(flag, question.distinct_id, value, options) : null;
    found[flag] = [value, payload ?? null];
  }
  return found;
}

async function main() {
  console.warn = console.error = console.debug = () => {};
  const client = new PostHog("phc_1", {
    host: "http://127.0.0.1:9",
    personalApiKey: "phx_1",
    fetch: fetched,
    featureFlagsPollingInterval: 3_600_000,
  });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(client, JSON.parse(line)))}\n`);
  }
  process.exit(0);
}

main();
