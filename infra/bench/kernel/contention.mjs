// Three circuit breakers that keep their state in DynamoDB, each in several environments at once, over the same DynamoDB:
// ours, circuitbreaker-lambda and Powertools for Python.
//
//   node infra/bench/kernel/contention.mjs [--environments 8] [--only ieum]
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const flag = (name, otherwise) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise);
const environments = +flag("--environments", 8);
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

const dynamodb = spawn(flag("--dynamodb", path.join(root, "target/debug/bench-dynamodb")), [], { stdio: ["pipe", "pipe", "inherit"] });
const url = await new Promise((done) => dynamodb.stdout.once("data", (text) => done(String(text).trim())));

const ours = flag("--worker", path.join(root, "target/release/bench-kernel"));
const bench = path.join(root, "target/bench");
const SYSTEMS = {
  ieum: { command: [ours, "--worker", "yes"], key: () => ({ pk: { S: "breaker#nts" } }), table: (run) => `ieum${run}`, count: "failures" },
  "circuitbreaker-lambda 0.0.1": {
    command: ["node", path.join(bench, "breaker-node/worker.js")],
    key: (run) => ({ id: { S: `circuit${run}` } }),
    table: () => "circuitbreakers",
    count: "failureCount",
  },
  "Powertools for Python 3.37": {
    command: [path.join(bench, "python/bin/python"), path.join(root, "infra/bench/kernel/python/worker.py")],
    key: (run) => ({ id: { S: `circuit${run}` } }),
    table: () => "breakers",
    count: "failure_count",
  },
};

const item = async (table, key) => {
  const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.GetItem" };
  const body = JSON.stringify({ TableName: table, Key: key, ConsistentRead: true });
  return (await (await fetch(url, { method: "POST", headers, body })).json()).Item;
};
const operations = async () => {
  const counts = await (await fetch(`${url}/bench/counts`)).json();
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
};

// Runs `many` environments of `system` and adds up what they say.
const fleet = async (system, run, many, settings) => {
  const START_AT = Date.now() + 4000;
  const env = {
    PATH: process.env.PATH,
    AWS_ENDPOINT_URL: url, AWS_REGION: "ap-northeast-2", AWS_DEFAULT_REGION: "ap-northeast-2",
    AWS_ACCESS_KEY_ID: "bench", AWS_SECRET_ACCESS_KEY: "bench",
    AWS_LAMBDA_FUNCTION_NAME: `circuit${run}`, CIRCUITBREAKER_TABLE: "circuitbreakers", BENCH_ENDPOINT: url,
    NAME: `circuit${run}`, TABLE: system.table(run), START_AT,
    MODE: "ok", CALLS: 1, CONCURRENT: 1, REST_MS: 0, THRESHOLD: 5, OPEN_SECONDS: 60, SLOW_MS: 1, ...settings,
  };
  const workers = Array.from({ length: many }, () => new Promise((done, failed) => {
    const [command, ...rest] = system.command;
    const worker = spawn(command, rest, { env, stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    worker.stdout.on("data", (part) => (text += part));
    worker.once("error", failed).once("exit", () => done(JSON.parse(text)));
  }));
  const all = await Promise.all(workers);
  return all.reduce((sum, one) => ({ upstream: sum.upstream + one.upstream, answered: sum.answered + one.answered }));
};

let run = 0;
const rows = [];
for (const [name, system] of Object.entries(SYSTEMS)) {
  if (!name.includes(flag("--only", ""))) continue;
  const row = { name };
  // 25 failures in each environment, at the same time, none of which opens anything.
  run += 1;
  const failing = await fleet(system, run, environments, { MODE: "fail", CALLS: 25, THRESHOLD: 1000 });
  const kept = +(await item(system.table(run), system.key(run)))?.[system.count]?.N || 0;
  row.lost = `${failing.upstream - kept} of ${failing.upstream}`;
  // A dead provider, asked every half second by each environment for six seconds.
  run += 1;
  row.dead = (await fleet(system, run, environments, { MODE: "fail", CALLS: 12, REST_MS: 500 })).upstream;
  // A circuit that was opened, and whose time has come: four callers in each environment at the same moment.
  run += 1;
  await fleet(system, run, 1, { MODE: "fail", CALLS: 12, REST_MS: 150, OPEN_SECONDS: 3 });
  await rest(3000);
  row.probes = (await fleet(system, run, environments, { CONCURRENT: 4, OPEN_SECONDS: 3, SLOW_MS: 300 })).upstream;
  // Nothing is wrong: twenty calls a second in each environment for ten seconds.
  run += 1;
  await operations();
  const healthy = await fleet(system, run, environments, { CALLS: 200, REST_MS: 50 });
  row.operations = Math.round(((await operations()) * 1000) / healthy.answered);
  rows.push(row);
}
console.log(`| ${environments} environments | failures not counted together | calls to a dead provider in 6 s | probes of one half-open circuit | DynamoDB operations for 1,000 healthy calls |`);
console.log("|---|---|---|---|---|");
for (const { name, lost, dead, probes, operations: spent } of rows) console.log(`| ${name} | ${lost} | ${dead} | ${probes} | ${spent} |`);
dynamodb.kill();
