// Who gets which variant, by OpenFeature's own OFREP provider for Node.
// Usage: node openfeature.js MODULES, with the task as JSON on standard input; answers with JSON on standard output.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const required = createRequire(`${process.argv[2]}/`);
const { OpenFeature } = required("@openfeature/server-sdk");
const { OFREPProvider } = required("@openfeature/ofrep-provider");
const task = JSON.parse(readFileSync(0, "utf8"));

async function main() {
  const headers = [
    ["Authorization", `Bearer ${task.token}`],
    ["X-Abacus-Track", "true"],
  ];
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: task.host, headers }));
  const client = OpenFeature.getClient();
  const seen = {};
  for (const user of task.users) {
    const context = { targetingKey: user, plan: "pro" };
    seen[user] = {};
    for (const flag of task.flags) seen[user][flag] = await client.getStringValue(flag, "none", context);
  }
  const context = { targetingKey: "anyone", plan: "pro" };
  const unknown = await client.getBooleanDetails("unknown", true, context);
  seen.details = {
    pro: await client.getBooleanValue("pro-only", false, context),
    free: await client.getBooleanValue("pro-only", true, { ...context, plan: "free" }),
    off: await client.getBooleanValue("switched-off", true, context),
    unknown: [unknown.value, unknown.errorCode],
  };
  console.log(JSON.stringify(seen));
}

main();
