// One environment: calls a provider through `circuitbreaker-lambda`, as its README says.
require("aws-sdk").config.update({ dynamodb: { endpoint: process.env.BENCH_ENDPOINT } });
const CircuitBreaker = require("circuitbreaker-lambda");
const { MODE, CALLS, CONCURRENT, REST_MS, START_AT, THRESHOLD, OPEN_SECONDS, SLOW_MS } = process.env;
console.log = () => {};
const rest = (ms) => new Promise((done) => setTimeout(done, ms));
const counts = { upstream: 0, answered: 0, failed: 0 };
const provider = async () => {
  counts.upstream += 1;
  await rest(+SLOW_MS);
  if (MODE === "fail") throw new Error("503");
  return "answer";
};
const options = { failureThreshold: +THRESHOLD, timeout: OPEN_SECONDS * 1000 };
const caller = async () => {
  for (let call = 0; call < CALLS; call += 1) {
    try {
      // It returns errors of the provider instead of throwing them. A new breaker for each invocation, as in its README.
      const outcome = await new CircuitBreaker(provider, options).fire();
      counts[outcome instanceof Error ? "failed" : "answered"] += 1;
    } catch {
      counts.failed += 1;
    }
    await rest(+REST_MS);
  }
};
(async () => {
  await rest(Math.max(0, START_AT - Date.now()));
  await Promise.all(Array.from({ length: +CONCURRENT }, caller));
  process.stdout.write(JSON.stringify(counts));
})();
