// What `verify` does for `GET /v1/companies/{business_number}`, by what a Node developer would take for it: AWS SDK v3,
// Powertools (answers kept in DynamoDB and in memory, log lines), opossum. The rate limit is a bucket in this process.
import { createHash, timingSafeEqual } from "node:crypto";
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { Logger } from "@aws-lambda-powertools/logger";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import CircuitBreaker from "opossum";

const logger = new Logger({ serviceName: "verify" });
const secrets = new SecretsManagerClient({});
const secret = async (name) => JSON.parse((await secrets.send(new GetSecretValueCommand({ SecretId: name }))).SecretString);
const [ieum, nts] = await Promise.all([secret(process.env.IEUM_SECRET), secret(process.env.NTS_SECRET)]);
const keys = ieum.api_keys.map((key) => ({ ...key, sha256: Buffer.from(key.sha256, "hex") }));

const bucket = { tokens: 10, at: Date.now() };
const slot = () => {
  const now = Date.now();
  bucket.tokens = Math.min(10, bucket.tokens + ((now - bucket.at) * 10) / 1000);
  bucket.at = now;
  if (bucket.tokens < 1) throw new Error("rate limited");
  bucket.tokens -= 1;
};

const upstream = async (number) => {
  slot();
  const query = new URLSearchParams({ serviceKey: nts.service_key, returnType: "JSON" });
  const answer = await fetch(`${process.env.NTS_BASE_URL}/status?${query}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ b_no: [number] }),
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const row = (await answer.json()).data.find((row) => row.b_no === number);
  const status = { "01": "active", "02": "suspended", "03": "closed" }[row.b_stt_cd];
  return { business_number: number, status, tax_type: row.tax_type, provider: "nts", fetched_at: new Date().toISOString() };
};
const breaker = new CircuitBreaker(upstream, { timeout: 5000, volumeThreshold: 5, resetTimeout: 60000 });

const persistenceStore = new DynamoDBPersistenceLayer({ tableName: process.env.ANSWERS_TABLE, awsSdkV3Client: new DynamoDBClient({}) });
const config = new IdempotencyConfig({ expiresAfterSeconds: 86400, useLocalCache: true });
const remembered = makeIdempotent(async (query) => breaker.fire(query.business_number), { persistenceStore, config });

const json = (statusCode, body) => ({ statusCode, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const handler = async (event, context) => {
  const began = performance.now();
  config.registerLambdaContext(context);
  const digest = createHash("sha256").update(event.headers["x-api-key"] ?? "").digest();
  const caller = keys.find((key) => timingSafeEqual(key.sha256, digest) && new Date(key.not_after) > new Date());
  if (!caller) return json(401, { error: "unauthorized" });
  if (!caller.scopes.some((scope) => scope === "*" || scope === "verify:read")) return json(403, { error: "forbidden" });
  const number = event.rawPath.match(/^\/v1\/companies\/(\d{10})$/)?.[1];
  if (event.requestContext.http.method !== "GET" || !number) return json(404, { error: "not_found" });
  try {
    const company = await remembered({ business_number: number });
    return json(200, company);
  } catch (error) {
    return json(502, { error: String(error) });
  } finally {
    logger.info("request", { method: "GET", route: "/v1/companies/{business_number}", caller: caller.id, duration_ms: performance.now() - began });
  }
};
