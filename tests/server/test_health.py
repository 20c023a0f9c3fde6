"""Probes, metrics, and a complete description of the API."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from featurestore import FeatureStore, Settings
from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of

METHODS = {"get", "head", "post", "put", "delete"}


def value(metrics: str, name: str, **labels: str) -> float:
    """The value of one series."""
    for line in metrics.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name and all(f'{label}="{text}"' in (match[2] or "") for label, text in labels.items()):
            return float(match[3])
    pytest.fail(f"no {name} with {labels}")


def test_probes(served: Served) -> None:
    assert served.http.get("/healthz").json() == {"status": "ok"}
    parts, verbs = ("catalog", "warehouse", "online store", "models"), ("lookups", "training sets", "materializations", "predictions")
    assert served.http.get("/readyz").json() == dict.fromkeys([*parts, *verbs], "ok")


def test_a_component_that_is_down_is_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, online="redis://127.0.0.1:1/0")
    with FeatureStore(settings=settings) as store, shop.serving(store) as url:
        error = error_of(httpx.get(f"{url}/readyz", timeout=30), 503, "NotReady")
        assert error["details"]["parts"] == {"catalog": "ok", "warehouse": "ok", "online store": "down", "models": "ok"}
        assert error["details"]["serves"] == {
            "lookups": "down",
            "training sets": "ok",
            "materializations": "down",
            "predictions": "down",
        }
        assert httpx.get(f"{url}/healthz").is_success


def test_metrics(own: Served) -> None:
    own.store.materialize()
    body = {"entities": [{"customer_id": 1}, {"customer_id": 99}]}
    for _ in range(3):
        own.http.post("/v1/services/plain/online", json=body)
    own.http.get("/v1/views/nothing")
    own.http.get("/nothing")
    text = own.http.get("/metrics").text
    assert value(text, "featurestore_requests_total", route="/v1/services/{service}/online", status="200") == 3
    assert value(text, "featurestore_requests_total", route="/v1/views/{name}", status="404") == 1
    assert value(text, "featurestore_requests_total", route="unmatched", status="404") == 1
    assert value(text, "featurestore_request_seconds_count", route="/v1/services/{service}/online") == 3
    assert value(text, "featurestore_online_rows_total", service="plain", view="customer_orders", status="PRESENT") == 3
    assert value(text, "featurestore_online_rows_total", service="plain", view="customer_orders", status="NOT_FOUND") == 3
    view = {"view": "customer_orders", "version": "1"}
    assert 0 < value(text, "featurestore_view_run_age_seconds", **view) < 60
    assert 0 < value(text, "featurestore_view_watermark_age_seconds", **view) < 60
    newest = datetime.fromisoformat(own.http.get("/v1/views/customer_orders").json()["newest_event"])
    age = (datetime.now(UTC) - newest).total_seconds()
    assert age > 86_400
    assert age - 60 < value(text, "featurestore_view_freshness_seconds", **view) <= age
    assert value(text, "featurestore_catalog_up") == 1


def test_metrics_of_lookups_and_the_online_store(own: Served) -> None:
    own.store.materialize()
    for path in ("/v1/services/plain/online", "/v1/services/plain/online?full=TRUE", "/v1/services/nothing/online"):
        own.http.post(path, json={"entities": [{"customer_id": 1}]})
    text = own.http.get("/metrics").text
    assert value(text, "featurestore_online_seconds_count", service="plain") == 2
    assert 0 < value(text, "featurestore_online_seconds_sum", service="plain") < 60
    assert value(text, "featurestore_online_seconds_bucket", service="plain", le="30.0") == 2
    # What is asked for and does not exist is no label.
    assert "nothing" not in text
    assert value(text, "featurestore_online_up") == 1
    assert value(text, "featurestore_online_store_rows", table="customer_orders_v1") == 2
    assert value(text, "featurestore_online_store_rows", table="customer_profile_v1") == 2
    assert value(text, "featurestore_online_store_bytes") > 4096
    age = value(text, "featurestore_online_edition_age_seconds")
    assert 0 <= age < 600
    shop.add(own.store, "shop.orders", shop.order_rows().slice(3, 1))
    own.store.materialize()
    assert value(own.http.get("/metrics").text, "featurestore_online_edition_age_seconds") < age + 600


def test_the_openapi_description_is_complete(served: Served) -> None:
    document = served.http.get("/openapi.json").json()
    operations = [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    assert all(method in METHODS for _, method, _ in operations)
    names = [one["operationId"] for _, _, one in operations]
    assert len(set(names)) == len(names)
    for path, _, one in operations:
        assert one["description"].endswith((".", "...")), path
        error = "IcebergErrorAnswer" if path.startswith("/iceberg/") else "ErrorAnswer"
        assert one["responses"]["default"]["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{error}"}
    assert not list(dangling(document, document))
    online = document["paths"]["/v1/services/{service}/online"]["post"]
    assert "entities" in online["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(document["paths"]["/v1/training-sets"]["post"]["requestBody"]["content"]) == {"application/json", "multipart/form-data"}


def dangling(node: Any, document: Any) -> Any:
    """References to schemas that do not exist."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            target: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target.get(part) if isinstance(target, dict) else None
            if target is None:
                yield node["$ref"]
        for inner in node.values():
            yield from dangling(inner, document)
    elif isinstance(node, list):
        for inner in node:
            yield from dangling(inner, document)
