# One environment: calls a provider through the circuit breaker of Powertools for Python, its state in DynamoDB.
import json
import os
import threading
import time

import boto3
from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, circuit_breaker
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence

given = os.environ
store = CircuitBreakerDynamoDBPersistence(table_name="breakers", boto3_client=boto3.client("dynamodb"))
config = CircuitBreakerConfig(
    failure_threshold=int(given["THRESHOLD"]), recovery_timeout=int(given["OPEN_SECONDS"]), success_threshold=1
)
counts = {"upstream": 0, "answered": 0, "failed": 0}
lock = threading.Lock()


def count(what):
    with lock:
        counts[what] += 1


@circuit_breaker(name=given["NAME"], persistence_store=store, config=config)
def provider():
    count("upstream")
    time.sleep(int(given["SLOW_MS"]) / 1000)
    if given["MODE"] == "fail":
        raise RuntimeError("503")
    return "answer"


def caller():
    for _ in range(int(given["CALLS"])):
        try:
            provider()
            count("answered")
        except Exception:
            count("failed")
        time.sleep(int(given["REST_MS"]) / 1000)


time.sleep(max(0, int(given["START_AT"]) / 1000 - time.time()))
threads = [threading.Thread(target=caller) for _ in range(int(given["CONCURRENT"]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(counts))
