// People visit a shop and some buy, told by posthog-node; or who gets which variant, by its local evaluation.
// Usage: node shop.js MODULES PACKAGE, with the task as JSON on standard input; answers with JSON on standard output.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const [modules, name] = process.argv.slice(2);
const { PostHog } = createRequire(`${modules}/`)(name);
const task = JSON.parse(readFileSync(0, "utf8"));

async function visit(client, seen) {
  for (const user of task.users) {
    client.identify({ distinctId: user, properties: { plan: "pro" } });
    seen[user] = {};
    for (const flag of task.flags) seen[user][flag] = await client.getFeatureFlag(flag, user);
    client.capture({ distinctId: user, event: "visit", properties: named(seen[user]) });
  }
}

async function buy(client, seen) {
  for (const user of task.users.filter((_, number) => number % 2 === 0)) {
    client.capture({ distinctId: user, event: "purchase", properties: named(seen[user]) });
  }
}

const named = (variants) =>
  Object.fromEntries(Object.entries(variants).map(([flag, variant]) => [`$feature/${flag}`, variant]));

async function evaluate(client, seen) {
  for (const [number, user] of task.users.entries()) {
    const options = {
      onlyEvaluateLocally: true,
      sendFeatureFlagEvents: false,
      personProperties: { plan: number % 3 === 0 ? "pro" : "free" },
    };
    seen[user] = {};
    for (const flag of task.flags) seen[user][flag] = await client.getFeatureFlag(flag, user, options);
  }
}

async function main() {
  const seen = {};
  // Each act ends with everything sent: whoever buys has been seen to visit before.
  for (const act of task.key ? [evaluate] : [visit, buy]) {
    const client = new PostHog(task.token, { host: task.host, personalApiKey: task.key, flushAt: 100 });
    await act(client, seen);
    await (client.shutdownAsync ?? client.shutdown).call(client);
  }
  console.log(JSON.stringify(seen));
}

main();
