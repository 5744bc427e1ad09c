# What `verify` does for `GET /v1/companies/{business_number}`, by what a Python developer would take for it: boto3, httpx,
# Powertools (circuit breaker with its state in DynamoDB, answers kept there and in memory, log lines). The rate limit is a
# bucket in this process.
import datetime
import hashlib
import hmac
import json
import os
import re
import time

import boto3
import httpx
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, circuit_breaker
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

logger = Logger(service="verify")
secrets = boto3.client("secretsmanager")
dynamodb = boto3.client("dynamodb")


def secret(name):
    return json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])


keys = secret(os.environ["IEUM_SECRET"])["api_keys"]
service_key = secret(os.environ["NTS_SECRET"])["service_key"]
http = httpx.Client(timeout=5)
answers = DynamoDBPersistenceLayer(table_name=os.environ["ANSWERS_TABLE"], boto3_client=dynamodb)
breakers = CircuitBreakerDynamoDBPersistence(table_name=os.environ["BREAKERS_TABLE"], boto3_client=dynamodb)
config = IdempotencyConfig(expires_after_seconds=86400, use_local_cache=True)
bucket = {"tokens": 10.0, "at": time.monotonic()}


def slot():
    now = time.monotonic()
    bucket["tokens"] = min(10.0, bucket["tokens"] + (now - bucket["at"]) * 10)
    bucket["at"] = now
    if bucket["tokens"] < 1:
        raise RuntimeError("rate limited")
    bucket["tokens"] -= 1


@circuit_breaker(name="nts", persistence_store=breakers, config=CircuitBreakerConfig(failure_threshold=5, recovery_timeout=60))
def upstream(number):
    slot()
    answer = http.post(
        f"{os.environ['NTS_BASE_URL']}/status",
        params={"serviceKey": service_key, "returnType": "JSON"},
        json={"b_no": [number]},
    )
    answer.raise_for_status()
    row = next(row for row in answer.json()["data"] if row["b_no"] == number)
    status = {"01": "active", "02": "suspended", "03": "closed"}[row["b_stt_cd"]]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    return {"business_number": number, "status": status, "tax_type": row["tax_type"], "provider": "nts", "fetched_at": now}


@idempotent_function(data_keyword_argument="query", persistence_store=answers, config=config)
def remembered(query):
    return upstream(query["business_number"])


def answer(status, body):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}


def may(key, digest):
    until = datetime.datetime.fromisoformat(key["not_after"])
    return hmac.compare_digest(key["sha256"], digest) and until > datetime.datetime.now(datetime.timezone.utc)


def handler(event, context):
    began = time.perf_counter()
    config.register_lambda_context(context)
    digest = hashlib.sha256(event["headers"].get("x-api-key", "").encode()).hexdigest()
    caller = next((key for key in keys if may(key, digest)), None)
    if caller is None:
        return answer(401, {"error": "unauthorized"})
    if not any(scope in ("*", "verify:read") for scope in caller["scopes"]):
        return answer(403, {"error": "forbidden"})
    path = re.fullmatch(r"/v1/companies/(\d{10})", event["rawPath"])
    if event["requestContext"]["http"]["method"] != "GET" or path is None:
        return answer(404, {"error": "not_found"})
    try:
        return answer(200, remembered(query={"business_number": path[1]}))
    except Exception as error:
        return answer(502, {"error": str(error)})
    finally:
        spent = (time.perf_counter() - began) * 1000
        logger.info("request", method="GET", route="/v1/companies/{business_number}", caller=caller["id"], duration_ms=spent)
