"""The memory of a server process is limited as a whole, because the engine's limit does not count texts that SQL creates."""

import json
import subprocess
import sys

import pytest

from featurestore import FeatureStore
from featurestore.settings import Settings

MOST = 1 << 30
TEXTS = "SELECT customer_id, ordered_at AS asked_at, length({made}) AS basket FROM shop.orders"
SERVER = """
import json, sys
from starlette.testclient import TestClient
from featurestore.server.run import application
from featurestore.settings import Settings

settings = Settings(home=sys.argv[1], server_memory_limit=sys.argv[2], query_memory_limit="100MB")
told = []
with TestClient(application(settings), base_url="http://localhost") as client:
    for sql in json.loads(sys.argv[3]):
        body = {"service": "churn", "timestamp": "asked_at", "spine": {"sql": sql}}
        answer = client.post("/v1/point-in-time", json=body)
        told.append([answer.status_code, answer.json()["error"]["type"]])
    told.append(client.get("/healthz").status_code)
print(json.dumps(told))
"""


@pytest.mark.slow
def test_long_texts_created_by_sql_are_refused_and_the_server_continues(own_shop: FeatureStore) -> None:
    made = ("repeat(repeat(amount::VARCHAR, 1000000), 400)", "replace(repeat('a' || amount, 50000), 'a', repeat('b', 50000))")
    queries = json.dumps([TEXTS.format(made=sql) for sql in made])
    command = [sys.executable, "-c", SERVER, str(own_shop.settings.home), str(MOST), queries]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(done.stdout.splitlines()[-1]) == [[507, "OutOfResources"]] * 2 + [200], done.stderr


def test_the_bound_leaves_room_for_the_queries_of_the_settings() -> None:
    queries = Settings(workers=1000, query_workers=3, query_memory_limit="200MB").server_memory()
    assert queries == 3 * 200_000_000 + (2 << 30)
    assert Settings(server_memory_limit="5GiB", workers=9).server_memory() == 5 << 30
