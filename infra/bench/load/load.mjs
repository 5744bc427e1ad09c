// The deployed local system under load: steadily, then in bursts; what callers saw, and what memory the functions took.
//
//   node infra/bench/load/load.mjs [--minutes 10] [--rate 12] [--no-build]
//
// Requests leave when their time has come, whether or not earlier ones are answered (an open loop): a system that falls
// behind is seen to.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../../..");
const flag = (name, otherwise) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise);
const [minutes, rate] = [+flag("--minutes", 10), +flag("--rate", 12)];
const rest = (ms) => new Promise((done) => setTimeout(done, ms));
const KEY = "ieum-bench-load-key";

// --- The system. What limits providers is set aside: this is about the layer, not about waiting for a slot.
const limits = ["NICE", "NTS", "JUSO", "KAKAO"].flatMap((provider) =>
  ["RATE_PER_PERIOD", "RATE_BURST"].flatMap((number) => ["--env", `${provider}_${number}=1000`]));
// `--xtask FILE` is an `xtask` that is built already, with the functions beside it; `--home` is the repository it was built in.
const home = path.resolve(flag("--home", root));
const [command, ...words] = flag("--xtask") ? [flag("--xtask"), "up"] : ["cargo", "up"];
const up = spawn(command, [...words, ...limits, ...(process.argv.includes("--no-build") ? ["--no-build"] : [])], {
  cwd: root,
  env: { ...process.env, IEUM_PORT: "0", IEUM_AWS_PORT: "0", IEUM_SANDBOX_PORT: "0", IEUM_LOCAL_API_KEY: KEY },
  stdio: ["ignore", "pipe", "inherit"],
});
let said = "";
const url = await new Promise((done, failed) => {
  up.stdout.on("data", (text) => {
    said += text;
    const ready = said.match(/^ready (\S+)/m);
    if (ready) done(ready[1]);
  });
  up.once("exit", () => failed(new Error(`cargo up has ended:\n${said}`)));
});

// --- What is asked: each route as the files in events/ have it, with other numbers.
const numbers = [];
for (let nine = 301900000; numbers.length < 200; nine += 7) {
  const digits = [...String(nine)].map(Number);
  const sum = digits.reduce((sum, digit, place) => sum + digit * [1, 3, 7, 1, 3, 7, 1, 3, 5][place], 0) + Math.floor((digits[8] * 5) / 10);
  numbers.push(`${nine}${(10 - (sum % 10)) % 10}`);
}
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const body = (value) => ({ method: "POST", body: JSON.stringify(value), headers: { "content-type": "application/json" } });
const ROUTES = [
  [6, "GET /v1/companies/{n}", () => [`/v1/companies/${pick(["1234567891", "2222222227"])}`], [200]],
  [3, "GET /v1/companies/{n}, unknown", () => [`/v1/companies/${pick(numbers)}`], [200, 404]],
  [4, "POST /v1/companies/status", () => ["/v1/companies/status", body({ business_numbers: [pick(numbers), pick(numbers), "1234567891"] })], [200]],
  [2, "GET /v1/companies?name", () => ["/v1/companies?name=%EC%83%98%ED%94%8C&page=1&size=5"], [200]],
  [4, "GET /v1/addresses", () => [`/v1/addresses?query=${encodeURIComponent(`세종대로 ${pick([110, 99, 55, 209])}`)}`], [200]],
  [2, "POST /v1/sms/preview", () => ["/v1/sms/preview", body({ to: "010-1234-5678", text: "이음에서 알려 드립니다.", max_price: 45 })], [200]],
  [2, "POST /v1/email-templates/…/preview", () => ["/v1/email-templates/account-suspended/preview", body({ language: "ko", variables: { name: "홍길동", reason: "결제 확인이 필요합니다." } })], [200]],
  [1, "GET /v1/health/verify", () => ["/v1/health/verify"], [200]],
  [1, "GET /v1/companies/{n}, bad", () => ["/v1/companies/1234567890"], [400, 422]],
];
const bag = ROUTES.flatMap((route) => Array(route[0]).fill(route));

const seen = []; // [second, route, milliseconds, status, expected]
const began = performance.now();
const ask = async () => {
  const [, name, make, expected] = pick(bag);
  const [target, options = {}] = make();
  const sent = performance.now();
  let status = 0;
  try {
    const answer = await fetch(url + target, { ...options, headers: { "x-api-key": KEY, ...options.headers }, signal: AbortSignal.timeout(30_000) });
    status = answer.status;
    const text = await answer.text();
    if (!expected.includes(status)) console.error(`${name}: ${status} ${text.slice(0, 200)}`);
  } catch (error) {
    console.error(`${name}: ${error}`);
  }
  seen.push([(sent - began) / 1000, name, performance.now() - sent, status, expected.includes(status)]);
};

// --- Memory of the functions: processes of this system that have a function's name among their variables.
const memory = []; // [second, function, pid, MB]
const look = () => {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const variables = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
      const name = variables.find((variable) => variable.startsWith("AWS_LAMBDA_FUNCTION_NAME="))?.slice(25);
      if (!name || !variables.some((variable) => variable.startsWith(`TMPDIR=${home}/`))) continue;
      const kb = readFileSync(`/proc/${pid}/status`, "latin1").match(/^VmRSS:\s+(\d+)/m);
      if (kb) memory.push([(performance.now() - began) / 1000, name, pid, kb[1] / 1024]);
    } catch {
      // It has ended meanwhile.
    }
  }
};
const looking = setInterval(look, 5_000);

// --- The load: half of the time steadily; then five seconds of three times the rate, ten of almost nothing.
const half = minutes * 30;
const rateAt = (second) => (second < half ? rate : (second - half) % 15 < 5 ? rate * 3 : rate / 10);
const waiting = new Set();
for (let second = 0; second < half * 2; second = (performance.now() - began) / 1000) {
  const request = ask().finally(() => waiting.delete(request));
  waiting.add(request);
  await rest((-Math.log(1 - Math.random()) * 1000) / rateAt(second));
}
await Promise.all(waiting);
clearInterval(looking);
look();
up.kill("SIGINT");

// --- What came of it.
const quantile = (list, part) => [...list].sort((a, b) => a - b)[Math.round(part * (list.length - 1))] ?? NaN;
const round = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
const row = (name, list, seconds) => {
  const times = list.map(([, , ms]) => ms);
  const errors = list.filter(([, , , , expected]) => !expected).length;
  return `| ${name} | ${list.length} | ${round(list.length / seconds)} | ${round(quantile(times, 0.5))} | ${round(quantile(times, 0.99))} | ${round(quantile(times, 1))} | ${errors} |`;
};
console.log("| | requests | per second | p50 ms | p99 ms | most ms | errors |\n|---|---|---|---|---|---|---|");
console.log(row("steady", seen.filter(([at]) => at < half), half));
console.log(row("bursts", seen.filter(([at]) => at >= half), half));
for (const [, name] of ROUTES) console.log(row(name, seen.filter((one) => one[1] === name), half * 2));

// The first environment of each function that lived longest; after a sixth of the time it has seen every route.
const series = new Map();
for (const [at, name, pid, mb] of memory) {
  const key = `${name}/${pid}`;
  if (!series.has(key)) series.set(key, []);
  series.get(key).push([at, mb]);
}
console.log("\n| function | environments | RSS after a sixth, MB | at the end | most |\n|---|---|---|---|---|");
const lines = [];
for (const name of [...new Set(memory.map(([, name]) => name))].sort()) {
  const of = [...series].filter(([key]) => key.startsWith(`${name}/`)).map(([, points]) => points);
  const longest = of.sort((a, b) => b.length - a.length)[0];
  const early = longest.find(([at]) => at > minutes * 10) ?? longest[0];
  const most = Math.max(...of.flat().map(([, mb]) => mb));
  console.log(`| ${name} | ${of.length} | ${round(early[1])} | ${round(longest.at(-1)[1])} | ${round(most)} |`);
  if (longest.length > 10) lines.push([name, longest]);
}
const colours = ["#2f6fde", "#d9822b", "#3a9a5b", "#9a4fb8", "#c44", "#888", "#087e8b", "#7a5c00"];
const [end, top] = [minutes * 60, Math.max(...lines.flatMap(([, points]) => points.map(([, mb]) => mb))) * 1.1];
const font = 'font-family="system-ui, sans-serif" font-size="13"';
const svg = lines.map(([name, points], place) => {
  const path = points.map(([at, mb]) => `${(60 + (480 * at) / end).toFixed(1)},${(280 - (230 * mb) / top).toFixed(1)}`).join(" ");
  const colour = colours[place % colours.length];
  return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>\n<text x="556" y="${60 + 20 * place}" fill="${colour}" ${font}>${name}</text>`;
});
mkdirSync(path.join(here, "../charts"), { recursive: true });
writeFileSync(path.join(here, "../charts/memory.svg"), `<svg xmlns="http://www.w3.org/2000/svg" width="760" height="320" viewBox="0 0 760 320" role="img" aria-label="Memory of the functions under load">
<text x="12" y="22" fill="#808080" font-weight="600" ${font}>RSS of one environment of each function under load, MB</text>
${svg.join("\n")}
<path d="M60 50V280H540" fill="none" stroke="#808080"/>
<text x="54" y="60" text-anchor="end" fill="#808080" ${font}>${round(top)}</text>
<text x="540" y="300" text-anchor="end" fill="#808080" ${font}>${end} s</text>
</svg>
`);
process.exit(seen.some(([, , , , expected]) => !expected) ? 1 : 0);
