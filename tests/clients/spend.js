// Every second user buys after a flag was evaluated for all, told by posthog-node: events name no variant.
// Usage: as shop.js.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const [modules, name] = process.argv.slice(2);
const { PostHog } = createRequire(`${modules}/`)(name);
const task = JSON.parse(readFileSync(0, "utf8"));

async function main() {
  const client = new PostHog(task.token, { host: task.host, flushAt: 100 });
  const seen = {};
  for (const [number, user] of task.users.entries()) {
    seen[user] = {};
    for (const flag of task.flags) seen[user][flag] = await client.getFeatureFlag(flag, user);
    if (number % 2 === 0) {
      client.capture({ distinctId: user, event: "purchase", properties: { amount: number + 1 } });
    }
  }
  await client.shutdown();
  console.log(JSON.stringify(seen));
}

main();
