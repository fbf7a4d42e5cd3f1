// BullMQ + undici + standardwebhooks beside Tidemill's webhooks out: the same body, the same receiver, the same Redis, one JSON line.
//
//   node webhooks.mjs <redis url> <receiver url> <deliveries>
//
// What one would write by hand: one job a delivery, added by `addBulk` first; then a worker with concurrency 64 that signs and POSTs
// over kept connections. No attempt log. The clock runs from the worker's start until `completed` has come for the last of them.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Redis } from "ioredis";
import { Queue, Worker } from "bullmq";
import { Pool } from "undici";
import { Webhook } from "standardwebhooks";

const [url, receiver, count] = process.argv.slice(2);
const jobs = Number(count);
if (!url || !receiver || !(jobs > 0)) {
  console.error("usage: node webhooks.mjs <redis url> <receiver url> <deliveries>");
  process.exit(2);
}
const BATCH = 1000;
const CONCURRENCY = 64;
const ENDPOINTS = 10;
const require = createRequire(import.meta.url);
const version = (name) => {
  // Packages may keep their package.json to themselves, so look for it from their main file upwards.
  let folder = require.resolve(name);
  for (;;) {
    folder = folder.slice(0, folder.lastIndexOf("/"));
    try {
      const read = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      if (read.name === name) return read.version;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
};
const mib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
const field = (info, name) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];

const admin = new Redis(url);
if ((await admin.dbsize()) !== 0) {
  console.error("that Redis is not empty; it must be, and it is emptied afterwards");
  process.exit(1);
}
const info = await admin.info();
let durability = "memory";
if (field(info, "aof_enabled") === "1") {
  const policy = (await admin.config("GET", "appendfsync"))[1];
  durability = policy === "always" ? "fsync" : policy;
}

const target = new URL(url);
const connection = { host: target.hostname, port: Number(target.port || 6379), db: Number(target.pathname.slice(1) || 0) };
const queue = new Queue("webhooks", { connection });
await queue.waitUntilReady();
const body = (n) =>
  JSON.stringify({
    id: `evt_${String(n).padStart(12, "0")}`,
    type: "invoice.paid",
    timestamp: new Date().toISOString(),
    data: { n, sent_us: Date.now() * 1000, currency: "EUR", note: "x".repeat(140) },
  });
for (let from = 0; from < jobs; from += BATCH) {
  const batch = [];
  for (let n = from; n < Math.min(from + BATCH, jobs); n++) {
    batch.push({
      name: "deliver",
      data: { id: `msg_${n}`, path: `/ok/${n % ENDPOINTS}`, body: body(Math.floor(n / ENDPOINTS)) },
      opts: { attempts: 10, backoff: { type: "exponential", delay: 5000 } },
    });
  }
  await queue.addBulk(batch);
}

const pool = new Pool(receiver, { connections: CONCURRENCY });
const webhook = new Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
writeFileSync("/proc/self/clear_refs", "5");
let completed = 0;
const begun = performance.now();
const worker = new Worker(
  "webhooks",
  async (job) => {
    const { id, path, body } = job.data;
    const now = new Date();
    const headers = {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": webhook.sign(id, now, body),
    };
    const reply = await pool.request({ method: "POST", path, headers, body, headersTimeout: 15000, bodyTimeout: 15000 });
    await reply.body.dump();
    if (reply.statusCode < 200 || reply.statusCode > 299) throw new Error(`the receiver answered ${reply.statusCode}`);
  },
  { connection, concurrency: CONCURRENCY },
);
await new Promise((done, failed) => {
  worker.on("completed", () => ++completed === jobs && done());
  worker.on("failed", (_, error) => failed(error));
  worker.on("error", failed);
});
const took = (performance.now() - begun) / 1000;
const peak = mib("VmHWM");
await worker.close();
await queue.close();
await pool.close();
await admin.flushdb();
await admin.quit();
const stats = await (await fetch(`${receiver}/stats`)).json();
if (stats.distinct !== jobs) {
  console.error(`the run does not count: of ${jobs} deliveries the receiver got ${stats.distinct}`);
  process.exit(1);
}
console.log(
  JSON.stringify({
    scenario: "fanout", system: "bullmq", store: "redis", jobs, per_second: jobs / took, p50_ms: null, p99_ms: null, p999_ms: null,
    rss_mib: peak, durability, lost: 0, operation: "deliver", concurrency: CONCURRENCY, note: "without an attempt log", machine: "",
    versions: `redis ${field(info, "redis_version")}, bullmq ${version("bullmq")}, undici ${version("undici")}, standardwebhooks ${version("standardwebhooks")}, node ${process.version.slice(1)}`,
    build: "release",
  }),
);
