// fastify + the official stripe package + BullMQ, as a receiver of webhooks beside Tidemill's.
//
//   node fastify-stripe.mjs <redis url>          (started by `tidemill-bench ingress --peer`)
//
// What their documentation shows: the raw body, `constructEvent`, `queue.add` with the event's id as the job's id, 200 after that. It says
// `listening <port>`; after `count <n>` on its input it stops listening, runs what its queue holds of `n` events, and says what it saw.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";
import Fastify from "fastify";
import Stripe from "stripe";

const url = process.argv[2];
if (!url) {
  console.error("usage: node fastify-stripe.mjs <redis url>");
  process.exit(2);
}
const SECRET = "whsec_bench_0123456789abcdef";
const CONCURRENCY = 200;
const PATIENCE_MS = 60_000;
const require = createRequire(import.meta.url);
const version = (name) => {
  // Not every package lets its package.json be required; all lie in the same folder.
  const folder = require.resolve("bullmq").split("/node_modules/")[0];
  return JSON.parse(readFileSync(`${folder}/node_modules/${name}/package.json`, "utf8")).version;
};

const target = new URL(url);
const connection = { host: target.hostname, port: Number(target.port || 6379), db: Number(target.pathname.slice(1) || 0) };
const queue = new Queue("webhooks", { connection });
await queue.waitUntilReady();
const stripe = new Stripe("sk_test_unused");

const app = Fastify({ logger: false, bodyLimit: 1024 * 1024 });
app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_, body, done) => done(null, body));
app.post("/webhooks/stripe", async (request, reply) => {
  let event;
  try {
    event = stripe.webhooks.constructEvent(request.body, request.headers["stripe-signature"], SECRET);
  } catch {
    return reply.code(401).send({ status: "refused" });
  }
  const data = { source: "stripe", event_id: event.id, event_type: event.type, received_at: Date.now(), body: request.body.toString("utf8") };
  await queue.add("webhook.received", data, { jobId: event.id });
  return { status: "accepted" };
});
await app.listen({ host: "127.0.0.1", port: 0 });
console.log(`listening ${app.server.address().port}`);

const asked = (await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value ?? "";
const sent = Number(/^count (\d+)$/.exec(asked)?.[1]);
if (!(sent > 0)) {
  console.error(`\`${asked}\` is no question`);
  process.exit(1);
}
await app.close();

const seen = new Uint8Array(sent);
let [distinct, wrong, completed] = [0, 0, 0];
const worker = new Worker(
  "webhooks",
  async (job) => {
    const i = Number(/^evt_(\d+)$/.exec(job.data.event_id)?.[1] ?? -1);
    if (!(i >= 0 && i < sent) || seen[i]) wrong++;
    else {
      seen[i] = 1;
      distinct++;
    }
  },
  { connection, concurrency: CONCURRENCY },
);
// Fewer than were sent is a result too: it says that some are lost. So it ends when nothing has come for a while.
let last = performance.now();
await new Promise((done, failed) => {
  const look = setInterval(() => performance.now() - last > PATIENCE_MS && end(), 1000);
  const end = () => (clearInterval(look), done());
  worker.on("completed", () => {
    last = performance.now();
    if (++completed === sent) end();
  });
  worker.on("failed", (_, error) => failed(error));
  worker.on("error", failed);
});
await worker.close();
await queue.close();
const versions = `fastify ${version("fastify")}, stripe ${version("stripe")}, bullmq ${version("bullmq")}, node ${process.version.slice(1)}`;
console.log(JSON.stringify({ distinct, wrong, versions }));
process.exit(0);
