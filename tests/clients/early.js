// Flags of users as posthog-node of early 2022 evaluates them. Usage: as shop.js.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const [modules, name] = process.argv.slice(2);
const PostHog = createRequire(`${modules}/`)(name);
const task = JSON.parse(readFileSync(0, "utf8"));

async function main() {
  const client = new PostHog(task.token, { host: task.host, personalApiKey: task.key, flushAt: 1000 });
  const seen = {};
  for (const user of task.users) {
    seen[user] = {};
    for (const flag of task.flags) seen[user][flag] = await client.isFeatureEnabled(flag, user);
  }
  await new Promise((done) => client.flush(done));
  client.shutdown();
  console.log(JSON.stringify(seen));
}

main();
