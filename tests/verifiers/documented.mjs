// Runs the JavaScript of docs/verifying.md on jobs, one JSON object a line on stdin.
// The folder with the extracted code is the first argument.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const w = await import(pathToFileURL(`${process.argv[2]}/webhooks.mjs`));

const checks = {
  standard: (j, body) => w.verifyStandard(body, j.headers, j.secret, j.now),
  ed25519: (j, body) => w.verifyStandardEd25519(body, j.headers, j.secret, j.now),
  stripe: (j, body) => w.verifyStripe(body, j.headers, j.secret, j.now),
  github: (j, body) => w.verifyGithub(body, j.headers, j.secret),
  shopify: (j, body) => w.verifyShopify(body, j.headers, j.secret),
  sprusify: (j, body) => w.verifySprusify(body, j.headers, j.secret),
  rebusai_header: (j, body) => w.verifyRebusaiHeader(body, j.headers, j.secret),
  rebusai_body: (j, body) => w.verifyRebusaiBody(body, j.secret),
  saasquatch: (j, body) => w.verifySaasquatch(body, j.headers, j.secret),
  sparkloop: (j) => w.verifySparkloop(j.headers, j.secret),
};

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  try {
    checks[job.check](job, Buffer.from(job.body));
    console.log("ok");
  } catch (error) {
    console.log(`${error instanceof w.BadSignature ? "refused" : "crashed"}: ${error.message}`);
  }
}
