// The function as Lambda runs it, from the start of its process to its first thumbnail, and warm, against a sharp worker
// that is handed the same file.
//
//   node lambda.mjs s3-thumbnail FILE… [--rounds N]
//
// Plays the Runtime API, S3, DynamoDB and Secrets Manager, without TLS: `bench-lambda` has what TLS costs.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const at = process.argv.indexOf("--rounds");
const rounds = at < 0 ? 7 : +process.argv[at + 1];
const [binary, ...files] = process.argv.slice(2, at < 0 ? undefined : at);
const root = path.resolve(here, "../../..");
const secrets = JSON.parse(readFileSync(path.join(root, "infra/xtask/secrets.json"), "utf8"));
secrets.ieum = { api_keys: [], jwt_issuers: [], cache_key: Buffer.from("0123456789abcdef0123456789abcdef").toString("base64") };

let object;
let etag;
let waiting;
const events = [];
const listeners = [];
const told = (kind, what) => listeners.shift()?.({ kind, what, at: performance.now() });
const next = () => new Promise((resolve) => listeners.push(resolve));
const record = (key) => ({
  eventVersion: "2.1", eventSource: "aws:s3", awsRegion: "ap-northeast-2", eventName: "ObjectCreated:Put",
  s3: { bucket: { name: "pictures" }, object: { key, size: object.length, eTag: etag } },
});
const send = (event) => {
  const headers = { "lambda-runtime-aws-request-id": `r${Date.now()}`, "lambda-runtime-deadline-ms": String(Date.now() + 60_000),
    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:ap-northeast-2:000000000000:function:s3-thumbnail" };
  if (waiting) {
    const answer = waiting;
    waiting = undefined;
    answer.writeHead(200, { ...headers, "content-type": "application/json" }).end(JSON.stringify(event));
  } else events.push(event);
};

const server = createServer(async (request, answer) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const { method, url } = request;
  if (url.includes("/invocation/next")) {
    waiting = answer;
    if (events.length) send(events.shift());
    return;
  }
  if (url.includes("/runtime/")) {
    answer.writeHead(202).end("{}");
    told(url.endsWith("/response") ? "answered" : "failed", body.toString());
    return;
  }
  const target = request.headers["x-amz-target"] ?? "";
  if (target.startsWith("secretsmanager")) {
    const name = JSON.parse(body).SecretId;
    answer.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
    answer.end(JSON.stringify({ Name: name, ARN: `arn:${name}`, VersionId: "1", SecretString: JSON.stringify(secrets[name] ?? {}) }));
    return;
  }
  if (target.startsWith("DynamoDB")) {
    answer.writeHead(200, { "content-type": "application/x-amz-json-1.0" }).end("{}");
    return;
  }
  const facts = { etag: `"${etag}"`, "content-type": "application/octet-stream" };
  if (method === "GET" || method === "HEAD") {
    answer.writeHead(200, { ...facts, "content-length": object.length }).end(method === "GET" ? object : undefined);
    return;
  }
  answer.writeHead(200, facts).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `127.0.0.1:${server.address().port}`;

// What the threads of a process have cost, in ms.
const cpuOf = (pid) =>
  execFileSync("sh", ["-c", `cat /proc/${pid}/task/*/schedstat`], { encoding: "utf8" })
    .trim().split("\n").reduce((sum, line) => sum + line.split(" ")[0] / 1e6, 0);
const peakOf = (pid) => +readFileSync(`/proc/${pid}/status`, "utf8").match(/VmHWM:\s+(\d+)/)[1] / 1024;

const environment = {
  STAGE: "dev", TABLE_NAME: "ieum", BUCKET_NAME: "bucket", IEUM_SECRET: "ieum", ANSWERS_TABLE: "answers", BREAKERS_TABLE: "breakers",
  ALERT_TOPIC_ARN: "arn:aws:sns:ap-northeast-2:000000000000:alerts", THUMBNAIL_VARIANTS: "card=300x200",
  THUMBNAIL_DEAD_LETTER_QUEUE: `http://${address}/000000000000/queue`, AWS_REGION: "ap-northeast-2", AWS_DEFAULT_REGION: "ap-northeast-2",
  AWS_ACCESS_KEY_ID: "bench", AWS_SECRET_ACCESS_KEY: "bench", AWS_SESSION_TOKEN: "bench", AWS_ENDPOINT_URL: `http://${address}`,
  AWS_LAMBDA_RUNTIME_API: address, AWS_LAMBDA_FUNCTION_NAME: "s3-thumbnail", AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
  AWS_LAMBDA_FUNCTION_VERSION: "$LATEST", AWS_LAMBDA_LOG_GROUP_NAME: "bench", AWS_LAMBDA_LOG_STREAM_NAME: "bench", LAMBDA_TASK_ROOT: ".",
};
const WARM = 5;

const ours = async () => {
  const began = performance.now();
  const child = spawn("taskset", ["-c", "1", binary], { env: { ...environment, PATH: process.env.PATH }, stdio: ["ignore", "ignore", process.env.LOUD ? "inherit" : "ignore"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.once("close", () => told("failed", "the process ended"));
  const done = async (number) => {
    send({ Records: [record(`upload/${number}`)] });
    const { kind, what, at } = await next();
    if (kind !== "answered") throw new Error(what);
    return at;
  };
  const first = (await done(0)) - began;
  const firstCpu = cpuOf(child.pid);
  for (let round = 0; round < WARM; round += 1) await done(round + 1);
  const cpu = (cpuOf(child.pid) - firstCpu) / WARM;
  const peak = peakOf(child.pid);
  child.kill("SIGKILL");
  await ended;
  waiting = undefined;
  return { first, firstCpu, cpu, peak };
};

const theirs = async (input) => {
  const began = performance.now();
  const child = spawn("taskset", ["-c", "1", "node", "worker.mjs"], { cwd: here, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (turns) => {
    child.stdin.write(`${JSON.stringify({ input, variants: "v=300x200", rounds: turns })}\n`);
    return JSON.parse((await lines.next()).value);
  };
  await ask(1);
  const first = performance.now() - began;
  const firstCpu = cpuOf(child.pid);
  const { cpu_ms: cpu, rss_kb } = await ask(WARM);
  child.stdin.end();
  await new Promise((resolve) => child.once("close", resolve));
  return { first, firstCpu, cpu, peak: rss_kb / 1024 };
};

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
console.log("| file | first thumbnail ms, ours | sharp | ratio (range) | CPU ms to it, ours | sharp | ratio | warm CPU ms, ours | sharp | ratio | peak MB, ours | sharp |");
console.log("|---|---|---|---|---|---|---|---|---|---|---|---|");
for (const file of files) {
  object = readFileSync(file);
  etag = createHash("md5").update(object).digest("hex");
  const runs = [];
  for (let round = 0; round < rounds; round += 1) runs.push([await ours(), await theirs(path.resolve(file))]);
  const of = (place, what) => median(runs.map((run) => run[place][what])).toFixed(1);
  const ratios = (what) => runs.map(([we, they]) => they[what] / we[what]);
  const firsts = ratios("first");
  const ratio = (what) => median(ratios(what)).toFixed(2);
  console.log(`| ${path.basename(file)} | ${of(0, "first")} | ${of(1, "first")} | ${ratio("first")} (${Math.min(...firsts).toFixed(2)}-${Math.max(...firsts).toFixed(2)}) | ${of(0, "firstCpu")} | ${of(1, "firstCpu")} | ${ratio("firstCpu")} | ${of(0, "cpu")} | ${of(1, "cpu")} | ${ratio("cpu")} | ${of(0, "peak")} | ${of(1, "peak")} |`);
}
server.close();
