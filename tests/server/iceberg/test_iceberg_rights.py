"""Who reads what by Iceberg's REST protocol: what one may not read whole is not there."""

import pytest

from tests.server.iceberg.conftest import ROOT, Lake

WHOLE = ["features.customer_profile_v1", "shop.orders", "shop.profiles"]
"""Tables without a policy, and not made from one that has."""
RESTRICTED = ["features.customer_orders_v1", "shop.old.orders", "training_sets.plain", "inference.spender"]
"""A view with a row filter, a table with a mask, and what may have been joined by somebody who is not under them."""
EVERYTHING = [*WHOLE, *RESTRICTED]
INTERNAL = ["registry.definitions", "registry.grants", "registry.keys", "registry.tags", "registry.policies"]
MAY: dict[str, list[str]] = {
    "admin": [*EVERYTHING, *INTERNAL],
    "everything": EVERYTHING,
    "masked": WHOLE,
    "reader": ["shop.orders"],
    "nested": ["shop.old.orders"],
    "stranger": [],
}


def path_of(table: str) -> str:
    """The path of a table."""
    namespace, _, name = table.rpartition(".")
    return f"{ROOT}/namespaces/{namespace.replace('.', '%1F')}/tables/{name}"


def listed(lake: Lake, name: str, parent: str = "") -> set[str]:
    """All tables that a principal finds by walking through the namespaces."""
    answer = lake.get(name, f"{ROOT}/namespaces{f'?parent={parent}' if parent else ''}")
    found = set()
    for parts in answer.json()["namespaces"]:
        path = "%1F".join(parts)
        assert lake.get(name, f"{ROOT}/namespaces/{path}").json()["namespace"] == parts
        assert lake.get(name, f"{ROOT}/namespaces/{path}", "HEAD").status_code == 204
        for table in lake.get(name, f"{ROOT}/namespaces/{path}/tables").json()["identifiers"]:
            assert table["namespace"] == parts
            found.add(".".join([*parts, table["name"]]))
        found |= listed(lake, name, path)
    return found


@pytest.mark.parametrize("name", MAY)
def test_tables_of_a_principal(lake: Lake, name: str) -> None:
    tables = listed(lake, name)
    assert {table for table in tables if table in (*EVERYTHING, *INTERNAL)} == set(MAY[name])
    # An administrator also has what servers made meanwhile, such as the uses of keys.
    assert name == "admin" or tables == set(MAY[name])
    for table in (*EVERYTHING, *INTERNAL):
        loaded, looked = (lake.get(name, path_of(table), method) for method in ("GET", "HEAD"))
        if table in MAY[name]:
            assert loaded.json()["metadata"]["table-uuid"] == str(lake.store.catalog.load_table(table).metadata.table_uuid)
            assert loaded.json()["config"] == {}
            assert looked.status_code == 204
        else:
            absent = lake.get(name, path_of(f"{table}x"))
            assert (loaded.status_code, loaded.text) == (404, absent.text.replace(f"{table}x", table))
            assert (looked.status_code, looked.text) == (404, "")


@pytest.mark.parametrize("name", ["stranger", "reader"])
@pytest.mark.parametrize("namespace", ["features", "registry", "system"])
def test_namespaces_without_tables_for_somebody_are_not_there(lake: Lake, name: str, namespace: str) -> None:
    for tail in ("", "/tables"):
        hidden, absent = (lake.get(name, f"{ROOT}/namespaces/{space}{tail}") for space in (namespace, "nowhere"))
        assert (hidden.status_code, hidden.text) == (404, absent.text.replace("nowhere", namespace))
    assert lake.get(name, f"{ROOT}/namespaces?parent={namespace}").status_code == 404


def test_secrets_of_tables_and_namespaces_stay(lake: Lake) -> None:
    table = lake.get("admin", f"{ROOT}/namespaces/shop/tables/orders").json()
    assert table["metadata"]["properties"]["note"] == "kept"
    assert table["metadata"]["properties"]["source"] == "https://me:***@example.com/orders"
    assert not [name for name in table["metadata"]["properties"] if name.startswith("s3.")]
    assert lake.get("admin", f"{ROOT}/namespaces/shop%1Fold").json()["properties"] == {"owner": "shop"}
    for path in ("/iceberg/v1/config", f"{ROOT}/namespaces/features", f"{ROOT}/nothing", "/iceberg/v1/other/namespaces"):
        lake.get("admin", path)


@pytest.mark.parametrize("name", ["SHOP.orders", "shop.ORDERS", "shop%1F%1Forders.x", "shop..orders", "shop.%00", "shop.a%0Ab", "shop. "])
def test_names_are_exact(lake: Lake, name: str) -> None:
    namespace, _, table = name.rpartition(".")
    answer = lake.get("everything", f"{ROOT}/namespaces/{namespace}/tables/{table}")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NoSuchTableException")
