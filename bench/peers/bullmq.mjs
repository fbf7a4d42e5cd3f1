// BullMQ beside Tidemill: the same payload, the same Redis, one JSON line a measurement.
//
//   node bullmq.mjs <redis url> <jobs>
//
// Its documented default set-up: `new Queue`, `addBulk` in batches of 1,000 by one caller, `new Worker` with concurrency 200 (jobs are
// kept when they are completed, locks and stalled checks are on). Jobs are added first, then the worker is started, and the
// clock runs until `completed` has come for the last of them. What the processor saw is counted in a bitmap.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Redis } from "ioredis";
import { Queue, Worker } from "bullmq";

const [url, count] = process.argv.slice(2);
const jobs = Number(count);
if (!url || !(jobs > 0)) {
  console.error("usage: node bullmq.mjs <redis url> <jobs>");
  process.exit(2);
}
const BATCH = 1000;
const CONCURRENCY = 200;
const require = createRequire(import.meta.url);
const version = (name) => JSON.parse(readFileSync(require.resolve(`${name}/package.json`), "utf8")).version;
const mib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
const resetPeak = () => writeFileSync("/proc/self/clear_refs", "5");
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
const versions = `redis ${field(info, "redis_version")}, bullmq ${version("bullmq")}, ioredis ${version("ioredis")}, node ${process.version.slice(1)}`;

function print(line) {
  console.log(
    JSON.stringify({
      system: "bullmq", store: "redis", jobs, p50_ms: null, p99_ms: null, p999_ms: null, rss_mib: mib("VmHWM"), durability, lost: 0,
      ...line,
      machine: "", versions, build: "release",
    }),
  );
}

/** Processor time of this process and of Redis since the last call, in microseconds a job: what a busy machine changes least. */
let spent = { client: 0, server: 0 };
async function processorTime() {
  const { user, system } = process.cpuUsage();
  const cpu = await admin.info("cpu");
  const now = { client: user + system, server: (Number(field(cpu, "used_cpu_user")) + Number(field(cpu, "used_cpu_sys"))) * 1e6 };
  const a_job = (who) => ((now[who] - spent[who]) / jobs).toFixed(1);
  const note = `processor time a job: client ${a_job("client")} µs, redis ${a_job("server")} µs`;
  spent = now;
  return note;
}

/** The sample that `percent` of all don't exceed. */
function at(sorted, percent) {
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

const target = new URL(url);
const connection = { host: target.hostname, port: Number(target.port || 6379), db: Number(target.pathname.slice(1) || 0) };
const queue = new Queue("bench", { connection });
await queue.waitUntilReady();

resetPeak();
const waits = [];
await processorTime();
let begun = performance.now();
for (let from = 0; from < jobs; from += BATCH) {
  const called = performance.now();
  const batch = [];
  for (let i = from; i < Math.min(from + BATCH, jobs); i++) {
    batch.push({ name: "noop", data: { i, tenant: "t1", note: "x".repeat(64) } });
  }
  await queue.addBulk(batch);
  waits.push(performance.now() - called);
}
const added = (performance.now() - begun) / 1000;
waits.sort((a, b) => a - b);
const enqueue = {
  scenario: "enqueue-bulk", per_second: jobs / added, p50_ms: at(waits, 50), p99_ms: at(waits, 99), p999_ms: at(waits, 99.9),
  samples: waits.length, batch: BATCH, concurrency: 1, rss_mib: mib("VmHWM"), note: await processorTime(),
};

resetPeak();
const seen = new Uint8Array(jobs);
let [distinct, wrong, completed] = [0, 0, 0];
begun = performance.now();
const worker = new Worker(
  "bench",
  async (job) => {
    const { i } = job.data;
    if (!(i < jobs) || seen[i]) wrong++;
    else {
      seen[i] = 1;
      distinct++;
    }
  },
  { connection, concurrency: CONCURRENCY },
);
await new Promise((done, failed) => {
  worker.on("completed", () => ++completed === jobs && done());
  worker.on("failed", (_, error) => failed(error));
  worker.on("error", failed);
});
const drained = (performance.now() - begun) / 1000;
const peak = mib("VmHWM");
const note = await processorTime();
await worker.close();
await queue.close();
await admin.flushdb();
await admin.quit();
if (distinct !== jobs || wrong !== 0) {
  console.error(`the run does not count: of ${jobs} jobs ${jobs - distinct} never came, ${wrong} came twice or were never added`);
  process.exit(1);
}
print(enqueue);
print({ scenario: "drain", per_second: jobs / drained, concurrency: CONCURRENCY, rss_mib: peak, note });
