// Starts `tidemill serve` on free ports, and posts what the senders' own libraries sign: good ones must pass, tampered ones
// must not. Ends with 0 only if every single answer was the expected one.
// Usage: node run.mjs <tidemill binary> [<python with the packages of requirements.txt>]

import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { sign as signGithub } from "@octokit/webhooks-methods";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

const here = dirname(fileURLToPath(import.meta.url));
const [binary, python] = process.argv.slice(2);
const secrets = {
  STRIPE_WEBHOOK_SECRET: `whsec_${randomBytes(24).toString("hex")}`,
  STANDARD_SECRET: `whsec_${randomBytes(32).toString("base64")}`,
  GITHUB_SECRET: "It's a Secret to Everybody",
};
const other = {
  STRIPE_WEBHOOK_SECRET: `whsec_${randomBytes(24).toString("hex")}`,
  STANDARD_SECRET: `whsec_${randomBytes(32).toString("base64")}`,
  GITHUB_SECRET: "It's a Secret to Nobody",
};

const stripe = new Stripe("sk_test_unused");
/** Name, path, and how its library signs a body at a time (seconds) under an id with a set of secrets. */
const senders = [
  ["stripe", "stripe", (_id, timestamp, payload, keys) => ({
    "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload, timestamp, secret: keys.STRIPE_WEBHOOK_SECRET }),
  })],
  ["standardwebhooks", "standard", (id, timestamp, payload, keys) => ({
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": new StandardWebhook(keys.STANDARD_SECRET).sign(id, new Date(timestamp * 1000), payload),
  })],
  ["svix", "standard", (id, timestamp, payload, keys) => ({
    "svix-id": id,
    "svix-timestamp": String(timestamp),
    "svix-signature": new SvixWebhook(keys.STANDARD_SECRET).sign(id, new Date(timestamp * 1000), payload),
  })],
  ["@octokit/webhooks-methods", "github", async (id, _timestamp, payload, keys) => ({
    "x-hub-signature-256": await signGithub(keys.GITHUB_SECRET, payload),
    "x-github-delivery": id,
    "x-github-event": "push",
  })],
];

let surprises = 0;
let checks = 0;
function expect(what, got, wanted) {
  checks += 1;
  if (got !== wanted) {
    surprises += 1;
    console.error(`SURPRISE ${what}: ${got} instead of ${wanted}`);
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function post(base, path, headers, body) {
  const reply = await fetch(`${base}/webhooks/${path}`, { method: "POST", headers, body });
  const text = await reply.text();
  return reply.status === 200 ? `200 ${JSON.parse(text).status}` : String(reply.status);
}

/** The signature's header with one letter of its signature changed. */
function spoilt(headers) {
  const name = Object.keys(headers).find((n) => n.includes("signature"));
  const text = headers[name];
  const at = text.length - 8;
  const letter = text[at] === "a" ? "b" : "a";
  return { ...headers, [name]: text.slice(0, at) + letter + text.slice(at + 1) };
}

async function tryAll(base) {
  for (const [name, path, sign] of senders) {
    const now = Math.floor(Date.now() / 1000);
    const id = `evt_${randomBytes(8).toString("hex")}`;
    const body = JSON.stringify({ id, type: "invoice.paid", note: "é ✓", amount: 110 }, null, 2);
    const good = await sign(id, now, body, secrets);
    expect(`${name}: good`, await post(base, path, good, body), "200 accepted");
    expect(`${name}: again`, await post(base, path, good, body), "200 duplicate");
    expect(`${name}: another body`, await post(base, path, good, body.replace("110", "111")), "401");
    expect(`${name}: indented otherwise`, await post(base, path, good, JSON.stringify(JSON.parse(body))), "401");
    expect(`${name}: another signature`, await post(base, path, spoilt(good), body), "401");
    expect(`${name}: another secret`, await post(base, path, await sign(id, now, body, other), body), "401");
    expect(`${name}: no signature`, await post(base, path, {}, body), "401");
    if (path !== "github") {
      expect(`${name}: too old`, await post(base, path, await sign(id, now - 400, body, secrets), body), "401");
      expect(`${name}: too early`, await post(base, path, await sign(id, now + 400, body, secrets), body), "401");
      expect(`${name}: four minutes old`, await post(base, path, await sign(id, now - 240, body, secrets), body), "200 duplicate");
    }
    console.log(`${name}: done`);
  }
}

async function ready(base, child) {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline && child.exitCode === null) {
    const reply = await fetch(`${base}/health`).catch(() => undefined);
    if (reply?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("tidemill serve does not answer");
}

const folder = mkdtempSync(join(tmpdir(), "tidemill-clients-"));
const [publicPort, operatorsPort] = [await freePort(), await freePort()];
const base = `http://127.0.0.1:${publicPort}`;
writeFileSync(join(folder, "tidemill.toml"), `
[ingress]
listen = "127.0.0.1:${publicPort}"
[ingress.sources.standard]
scheme = "standard_webhooks"
secret_env = "STANDARD_SECRET"
[ingress.sources.github]
scheme = "github"
secret_env = "GITHUB_SECRET"
[admin]
listen = "127.0.0.1:${operatorsPort}"
`);
const log = openSync(join(folder, "log"), "w");
const child = spawn(binary, ["serve", "--config", join(folder, "tidemill.toml"), "--data-dir", join(folder, "data")], {
  env: { ...secrets, GPU_MARKET_URL: "off" },
  stdio: ["ignore", "ignore", log],
});
const ended = new Promise((resolve) => child.on("exit", resolve));
try {
  await ready(base, child);
  await tryAll(base);
  if (python) {
    const words = execFileSync(python, [join(here, "post.py"), base], {
      env: { ...process.env, ...secrets, OTHER_SECRET: other.STANDARD_SECRET },
      encoding: "utf8",
    });
    process.stdout.write(words);
  }
} catch (error) {
  surprises += 1;
  console.error(error, readFileSync(join(folder, "log"), "utf8").slice(-4000));
} finally {
  child.kill("SIGTERM");
  expect("tidemill's exit", await ended, 0);
  closeSync(log);
  rmSync(folder, { recursive: true });
}
console.log(`${checks} answers checked${python ? " here, and those that Python reports" : ""}, ${surprises} surprises`);
process.exitCode = surprises === 0 ? 0 : 1;
