// Verifies captured requests with the official library: one JSON object a line on stdin.
// The library is looked for in the folder named by the first argument.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.argv[2] + "/");
const { Webhook } = require("standardwebhooks");

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, body, headers, type } = JSON.parse(line);
  const data = new Webhook(secret).verify(body, headers);
  if (data.type !== type) throw new Error(`type ${data.type}`);
  console.log("verified");
}
