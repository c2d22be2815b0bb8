// Runs a platform's own JavaScript library on jobs, one JSON object a line on stdin.
// The library is the first argument.
import { createInterface } from "node:readline";
import * as octokit from "@octokit/webhooks-methods";
import * as standardwebhooks from "standardwebhooks";
import Stripe from "stripe";
import * as svix from "svix";

// The key is for requests to Stripe, of which there are none.
const stripe = new Stripe("sk_test_none");

const libraries = {
  standardwebhooks: (job) =>
    new standardwebhooks.Webhook(job.secret).verify(job.body, job.headers),
  svix: (job) => new svix.Webhook(job.secret).verify(job.body, job.headers),
  stripe: (job) =>
    stripe.webhooks.constructEvent(job.body, job.headers["stripe-signature"], job.secret),
  octokit: async (job) => {
    const signature = job.headers["x-hub-signature-256"];
    if (!(await octokit.verify(job.secret, job.body, signature))) throw new Error("no match");
  },
};

const verify = libraries[process.argv[2]];
for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  Date.now = () => job.now * 1000;
  try {
    await verify(job);
    console.log("ok");
  } catch (error) {
    console.log(`refused: ${error}`.replaceAll("\n", " "));
  }
}
