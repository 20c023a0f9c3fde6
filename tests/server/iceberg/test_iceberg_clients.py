"""pyiceberg's client of REST catalogs reads the tables of a server, and the requests of DuckDB's and Spark's are answered."""

import json
from collections.abc import Callable

import pytest
from pyiceberg.exceptions import BadRequestError, NoSuchNamespaceError, NoSuchTableError, UnauthorizedError

from featurestore.audit_log.results import AuditEntry
from tests import shop
from tests.server.iceberg.conftest import ROOT, Lake


def test_pyiceberg_lists_loads_and_scans(lake: Lake) -> None:
    catalog = lake.catalog("reader", warehouse="featurestore")
    assert catalog.list_namespaces() == [("shop",)]
    assert catalog.list_tables("shop") == [("shop", "orders")]
    assert catalog.namespace_exists("shop")
    assert catalog.table_exists("shop.orders")
    table = catalog.load_table("shop.orders")
    rows = shop.order_rows().num_rows
    assert table.scan().to_arrow().num_rows == 3 * rows
    named = table.snapshot_by_name("release-1")
    assert named is not None
    first = table.scan(snapshot_id=named.snapshot_id).to_arrow()
    assert first.sort_by("amount") == shop.order_rows().cast(first.schema).sort_by("amount")
    assert table.metadata == lake.store.catalog.load_table("shop.orders").metadata.model_copy(
        update={"properties": table.metadata.properties}
    )


def test_pyiceberg_pages_and_leaves_out_snapshots(lake: Lake) -> None:
    catalog = lake.catalog("everything", **{"rest-page-size": "1", "snapshot-loading-mode": "refs"})
    assert catalog.list_namespaces() == [("features",), ("inference",), ("shop",), ("training_sets",)]
    assert catalog.list_tables("shop") == [("shop", "orders"), ("shop", "profiles")]
    assert catalog.list_namespaces("shop") == [("shop", "old")]
    assert catalog.list_tables(("shop", "old")) == [("shop", "old", "orders")]
    assert catalog.load_table(("shop", "old", "orders")).scan().to_arrow().num_rows == 0
    assert len(catalog.load_table("shop.orders").snapshots()) == 2


def test_pyiceberg_refuses_to_write_by_itself(lake: Lake) -> None:
    catalog = lake.catalog("admin")
    schema = catalog.load_table("shop.orders").schema()
    changes: list[Callable[[], object]] = [
        lambda: catalog.create_namespace("new"),
        lambda: catalog.create_table("shop.new", schema),
        lambda: catalog.drop_table("shop.orders"),
        lambda: catalog.rename_table("shop.orders", "shop.old"),
        lambda: catalog.load_table("shop.orders").delete("amount > 0"),
    ]
    for change in changes:
        with pytest.raises(NotImplementedError, match="Server does not support endpoint"):
            change()


def test_pyiceberg_has_the_errors_of_its_kind(lake: Lake) -> None:
    catalog = lake.catalog("reader")
    with pytest.raises(NoSuchTableError, match=r"no table 'shop\.nothing'"):
        catalog.load_table("shop.nothing")
    with pytest.raises(NoSuchTableError, match=r"no table 'shop\.profiles'"):
        catalog.load_table("shop.profiles")
    assert not catalog.table_exists("shop.profiles")
    assert not catalog.namespace_exists("features")
    with pytest.raises(NoSuchNamespaceError, match="no namespace 'features'"):
        catalog.list_tables("features")
    with pytest.raises(BadRequestError, match="the catalog of this server is called featurestore"):
        lake.catalog("reader", warehouse="lake")
    with pytest.raises(UnauthorizedError, match="NotAuthorizedException: this server asks for credentials"):
        lake._replace(tokens={"reader": "fs_wrong"}).catalog("reader")


WRITES = [
    ("POST", f"{ROOT}/namespaces/shop/tables/orders", {"requirements": [], "updates": []}),
    ("POST", f"{ROOT}/namespaces/shop/tables", {"stage-create": True, "name": "new", "schema": {}}),
    ("DELETE", f"{ROOT}/namespaces/shop/tables/orders?purgeRequested=false", None),
    ("POST", f"{ROOT}/transactions/commit", {"table-changes": []}),
    ("POST", f"{ROOT}/tables/rename", {}),
    ("POST", f"{ROOT}/namespaces/shop/properties", {"removals": [], "updates": {}}),
    ("POST", f"{ROOT}/namespaces/shop/tables/orders/metrics", {}),
    ("DELETE", f"{ROOT}/namespaces/shop", None),
    ("PUT", f"{ROOT}/anything", {}),
]
"""Requests to write, the first three as DuckDB's extension sent them."""


@pytest.mark.parametrize("method, path, body", WRITES)
def test_writing_is_refused(lake: Lake, method: str, path: str, body: dict[str, object] | None) -> None:
    headers = {"Authorization": f"Bearer {lake.tokens['admin']}", "x-iceberg-access-delegation": "vended-credentials"}
    answer = lake.served.http.request(method, path, json=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (405, 405, "UnsupportedOperationException")
    assert error["message"].startswith("this catalog is read-only")
    assert lake.served.http.request(method, path, json=body).status_code == 401


def test_accesses_are_in_the_audit_log(lake: Lake) -> None:
    def last(action: str) -> AuditEntry:
        return lake.store.audit_log("reader", action=action, limit=1)[0]

    route = f"GET {ROOT}/namespaces/{{namespace}}/tables/{{table}}"
    lake.get("reader", f"{ROOT}/namespaces/shop/tables/orders")
    entry = last(route)
    assert (entry.status, list(entry.objects), entry.error) == (200, ["namespaces/shop", "tables/orders"], None)
    lake.get("reader", f"{ROOT}/namespaces/shop/tables/profiles")
    entry = last(route)
    assert (entry.status, list(entry.objects), entry.error) == (404, ["namespaces/shop", "tables/profiles"], "NotFound")


def test_the_description_of_the_api_has_the_routes(lake: Lake) -> None:
    paths = lake.served.http.get("/openapi.json").json()["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() if path.startswith("/iceberg/") for method in methods}
    offered = json.loads(lake.get("reader", "/iceberg/v1/config").text)["endpoints"]
    ours = {endpoint.replace("/v1/{prefix}", ROOT) for endpoint in offered}
    assert described == {*ours, "GET /iceberg/v1/config"}
    error = paths[f"{ROOT}/namespaces"]["get"]["responses"]["default"]["content"]["application/json"]["schema"]
    assert error["$ref"].endswith("/IcebergErrorAnswer")
