// Starts `tidemill serve` on free ports, publishes events, and lets the receivers' own libraries verify what arrives: HMAC,
// Ed25519, another header prefix, both secrets during a rotation; and lets them refuse what was changed.
// Usage: node out.mjs <tidemill binary> [<python with the packages of requirements.txt>]

import { execFileSync, spawn } from "node:child_process";
import { createPublicKey, randomBytes, verify } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";

const here = dirname(fileURLToPath(import.meta.url));
const [binary, python] = process.argv.slice(2);
let checks = 0;
let surprises = 0;

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

/** Keeps what arrives, by path, and answers 204. */
async function receiver() {
  const seen = [];
  const server = createHttp((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      seen.push({ path: request.url, headers: request.headers, body: Buffer.concat(parts).toString("utf8") });
      response.writeHead(204).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { seen, server, base: `http://127.0.0.1:${server.address().port}` };
}

async function until(what, look) {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen`);
}

/** Whether the library takes it. */
function takes(library, secret, headers, body) {
  try {
    new library(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

/** Ed25519 as Standard Webhooks describes it, with Node's own verification: neither library knows `v1a`. */
function takesPublic(key, headers, body) {
  const raw = Buffer.from(key.replace(/^whpk_/, ""), "base64");
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
  const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  const content = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const all = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
  return all.some((one) => verify(null, content, publicKey, Buffer.from(one.slice(4), "base64")));
}

const folder = mkdtempSync(join(tmpdir(), "tidemill-clients-out-"));
const [publicPort, operatorsPort] = [await freePort(), await freePort()];
const config = join(folder, "tidemill.toml");
writeFileSync(config, `
[ingress]
listen = "127.0.0.1:${publicPort}"
[admin]
listen = "127.0.0.1:${operatorsPort}"
[fanout]
allow_http = true
allow_addresses = ["127.0.0.0/8"]
`);
const log = openSync(join(folder, "log"), "w");
const common = ["--config", config, "--data-dir", join(folder, "data")];
const env = { GPU_MARKET_URL: "off" };
const child = spawn(binary, ["serve", ...common], { env, stdio: ["ignore", "ignore", log] });
const ended = new Promise((resolve) => child.on("exit", resolve));
const { seen, server, base } = await receiver();
try {
  const admin = `http://127.0.0.1:${operatorsPort}`;
  await until("the start", async () => child.exitCode === null && (await fetch(`${admin}/ready`).catch(() => undefined))?.ok);
  const made = execFileSync(binary, ["keys", "create", "clients", "--role", "admin", "--json", ...common], { env, encoding: "utf8" });
  const headers = { "x-api-key": JSON.parse(made).key, "content-type": "application/json" };
  const call = async (method, path, body) => {
    const reply = await fetch(`${admin}${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
    return JSON.parse(text);
  };
  const endpoint = (path, more) => call("POST", "/api/v1/endpoints", { url: base + path, event_types: ["*"], ...more });
  const arrived = (path, n) => until(`POST ${n} to ${path}`, () => seen.filter((one) => one.path === path)[n - 1]);
  const publish = () => call("POST", "/api/v1/events", {
    id: randomBytes(8).toString("hex"), event_type: "invoice.paid", payload: { note: "é ✓", amount: 110 },
  });

  const shared = await endpoint("/shared");
  const svix = await endpoint("/svix", { header_prefix: "svix" });
  const pair = await endpoint("/pair", { signature: "v1a" });
  await publish();

  const post = await arrived("/shared", 1);
  for (const [name, library] of [["standardwebhooks", StandardWebhook], ["svix", SvixWebhook]]) {
    expect(`${name}: as it came`, takes(library, shared.secret, post.headers, post.body), true);
    expect(`${name}: another body`, takes(library, shared.secret, post.headers, post.body.replace("110", "111")), false);
    expect(`${name}: another secret`, takes(library, svix.secret, post.headers, post.body), false);
    const later = { ...post.headers, "webhook-timestamp": String(Number(post.headers["webhook-timestamp"]) + 1) };
    expect(`${name}: another time`, takes(library, shared.secret, later, post.body), false);
    console.log(`${name}: done`);
  }
  if (python) {
    const given = JSON.stringify({ secret: shared.secret, headers: post.headers, body: post.body });
    process.stdout.write(execFileSync(python, [join(here, "out.py")], { input: given, encoding: "utf8" }));
  }

  const prefixed = await arrived("/svix", 1);
  const own = Object.fromEntries(Object.entries(prefixed.headers).filter(([name]) => name.startsWith("svix-")));
  expect("svix: its own headers alone", takes(SvixWebhook, svix.secret, own, prefixed.body), true);
  expect("svix: the event's type", own["svix-event"], "invoice.paid");

  const signed = await arrived("/pair", 1);
  expect("v1a: as it came", takesPublic(pair.secret, signed.headers, signed.body), true);
  expect("v1a: another body", takesPublic(pair.secret, signed.headers, signed.body.replace("110", "111")), false);

  const rotated = await call("POST", `/api/v1/endpoints/${shared.endpoint.id}/rotate`, {});
  await publish();
  const both = await arrived("/shared", 2);
  for (const [name, library] of [["standardwebhooks", StandardWebhook], ["svix", SvixWebhook]]) {
    expect(`${name}: the new secret`, takes(library, rotated.secret, both.headers, both.body), true);
    expect(`${name}: the old one beside it`, takes(library, shared.secret, both.headers, both.body), true);
  }
  await call("POST", `/api/v1/endpoints/${shared.endpoint.id}/rotate`, { overlap_seconds: 0 });
  await publish();
  const last = await arrived("/shared", 3);
  expect("rotation without overlap: an old secret", takes(StandardWebhook, rotated.secret, last.headers, last.body), false);
} catch (error) {
  surprises += 1;
  console.error(error, readFileSync(join(folder, "log"), "utf8").slice(-4000));
} finally {
  child.kill("SIGTERM");
  expect("tidemill's exit", await ended, 0);
  server.close();
  server.closeAllConnections();
  closeSync(log);
  rmSync(folder, { recursive: true });
}
console.log(`${checks} signatures checked${python ? " here, and those that Python reports" : ""}, ${surprises} surprises`);
process.exitCode = surprises === 0 ? 0 : 1;
