"""A server whose catalog other engines read: a shop with a named version, secrets beside the tables, and principals."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from pyiceberg.catalog.rest import RestCatalog

from featurestore import FeatureStore, Mask, RowFilter, TablePolicy
from tests import shop
from tests.server.conftest import Served, serve

CANARY = "canary-4f1d9b7a"
"""A secret of the store: no byte of any answer may have it."""
SECRETS = {"s3.access-key-id": f"{CANARY}-1", "s3.secret-access-key": f"{CANARY}-2", "s3.session-token": f"{CANARY}-3"}
ROOT = "/iceberg/v1/featurestore"


class Lake(NamedTuple):
    """The server, its store, and the tokens of principals by name."""

    store: FeatureStore
    served: Served
    tokens: dict[str, str]

    def catalog(self, name: str, **properties: str) -> RestCatalog:
        """The catalog as pyiceberg's client has it for a principal."""
        return RestCatalog("lake", uri=f"{self.served.url}/iceberg", token=self.tokens[name], **properties)

    def get(self, name: str, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """The answer to a principal, which has no secret in it."""
        answer = self.served.http.request(method, path, headers={"Authorization": f"Bearer {self.tokens[name]}", **headers})
        assert CANARY not in f"{answer.headers}{answer.text}"
        return answer


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A shop whose orders have three snapshots: `release-1` is the first. Tests change nothing in it."""
    home = tmp_path_factory.mktemp("lake")
    catalog = {"type": "sql", "uri": f"sqlite:///{home}/catalog.db", **SECRETS}
    with shop.open_shop(home, catalog=catalog, warehouse=str(home / "lake"), audit_log="on") as store:
        store.tag("release-1", "shop.orders")
        for _ in range(2):
            shop.add(store, "shop.orders", shop.order_rows())
        with store.catalog.load_table("shop.orders").transaction() as transaction:
            transaction.set_properties({**SECRETS, "note": "kept", "source": f"https://me:{CANARY}@example.com/orders"})
        store.catalog.create_namespace("shop.old", {"owner": "shop", "password": CANARY})
        store.catalog.create_table("shop.old.orders", store.catalog.load_table("shop.orders").schema())
        store.catalog.create_namespace("inference")
        store.catalog.create_table("inference.spender", store.catalog.load_table("shop.orders").schema())
        store.training_set("plain", shop.spine(), "asked_at")
        store.apply(
            [
                TablePolicy("shop.old.orders", masks={"amount": Mask("NULL", unless=["pii"])}),
                TablePolicy("customer_orders", rows=RowFilter("customer_id = 1", unless=["pii"])),
            ]
        )
        names = ("admin", "reader", "stranger", "everything", "nested", "masked")
        tokens = {name: store.create_key(name, "pii" if name in ("everything", "nested") else (), name == "admin").token for name in names}
        store.grant("READ", "TABLE shop.orders", "USER reader")
        store.grant("USE", "CATALOG", "USER stranger")
        for name in ("everything", "masked"):
            store.grant("READ", "CATALOG", f"USER {name}")
        store.grant("READ", "TABLE shop.old.orders", "USER nested")
        with serve(store) as served:
            yield Lake(store, served, tokens)
