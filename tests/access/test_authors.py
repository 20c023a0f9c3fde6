"""Whoever a change is recorded for is the principal who made it, here and over HTTP, whichever user runs the process."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from featurestore import Entity, FeatureLookup, FeatureStore, Grant, Store, connect
from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.store import PrincipalStore
from tests import shop, worlds
from tests.access.test_principal_store import VERBS, fill

USER = "the-user-of-the-process"
SCHEMA = {"k": "bigint", "x": "double"}


def change_definitions(store: Store) -> None:
    """Apply something new, a grant with it, and remove something."""
    store.apply([*shop.DEFINITIONS, Entity("shelf", keys="shelf_id"), Grant("USE", on="CATALOG", to="USER her")])
    store.remove_service("plain")


def change_table(store: Store) -> None:
    """Create a table, add a column, and write to it."""
    store.create_table("t", "k", schema=SCHEMA)
    store.create_table("t", "k", schema={**SCHEMA, "y": "double"})
    store.write_table("t", [{"k": 1, "x": 2.0}])


def change_keys(store: Store) -> None:
    """Create a key, and revoke it."""
    store.revoke_key(store.create_key("another").key.id)


def change_grants(store: Store) -> None:
    """Grant, and revoke."""
    store.grant("READ", "VIEW customer_orders", "USER her")
    store.revoke("READ", "VIEW customer_orders", "USER her")


def change_tags(store: Store) -> None:
    """Set two names, and remove one."""
    for name in ("release", "another"):
        store.tag(name, "customer_orders")
    store.remove_tag("another")


def change_shares(store: Store) -> None:
    """Share and take back, for somebody whose token is changed and revoked."""
    for name in ("outside", "another"):
        store.create_share(name)
    store.add_to_share("outside", "VIEW customer_orders")
    made = store.create_recipient("globex", "outside")
    store.rotate_recipient("globex")
    store.change_recipient("globex", groups="pii")
    store.revoke_recipient("globex", made.key)
    store.remove_from_share("outside", "VIEW customer_orders")
    store.remove_share("another")


HARMLESS = ("compare", "get_training_set", "rebuild", "remove_training_set", "remove_version", "remove_view", "audit", "replay")
"""Verbs that change nothing as they are called there."""
OF_SHARES = (
    *("remove_share", "add_to_share", "remove_from_share"),
    *("create_recipient", "change_recipient", "rotate_recipient", "revoke_recipient"),
)
TOGETHER = ("revoke_key", "revoke", "remove_tag", *OF_SHARES)
"""Verbs that are in the call of another one."""
OF_MODELS = ("traffic", "set_traffic", "compare_traffic", "models")
"""Those that ask MLflow: `tests/models/traffic` has models."""
CHANGES: dict[str, Callable[[Store], Any]] = {
    **{name: call for name, (_, call) in VERBS.items() if name not in HARMLESS + TOGETHER + OF_MODELS},
    "apply": change_definitions,
    "create_table": change_table,
    "erase": lambda store: store.erase("customer", 2),
    "create_training_set": lambda store: store.create_training_set(
        [{"k": 1, "label": 1.0}], FeatureLookup("spending", lookup_key="k"), "label", timestamp=None
    ),
    "create_key": change_keys,
    "grant": change_grants,
    "tag": change_tags,
    "create_share": change_shares,
    "maintain": lambda store: store.maintain(older_than=timedelta(microseconds=1)),
}
"""By verb, a call that changes what it can."""


@contextmanager
def here(store: FeatureStore, token: str) -> Iterator[Store]:
    """The verbs of an administrator in this process."""
    yield PrincipalStore(store, Rights(Principal("platform", is_administrator=True)))


@contextmanager
def there(store: FeatureStore, token: str) -> Iterator[Store]:
    """The verbs of an administrator of a server."""
    with shop.serving(store, jobs=True) as url, connect(url, token=token) as remote:
        yield remote


def recorded(store: FeatureStore) -> dict[str, str]:
    """All that the catalog says of who did what: properties, summaries of snapshots, and rows of the registries."""
    texts = {}
    for namespace in store.catalog.list_namespaces():
        for identifier in store.catalog.list_tables(namespace):
            name, table = ".".join(identifier), store.catalog.load_table(identifier)
            rows = table.scan().to_arrow().to_pylist() if name.startswith("registry.") else []
            summaries = [dict(snapshot.summary.additional_properties) for snapshot in table.metadata.snapshots if snapshot.summary]
            texts[name] = json.dumps([table.properties, summaries, rows], default=str)
    return texts


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The shop with a written table and a training set."""
    return worlds.Template(tmp_path_factory.mktemp("authors"), fill)


@pytest.mark.slow
@pytest.mark.parametrize("opened", [here, there])
def test_every_change_is_recorded_for_the_principal(template: worlds.Template, monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    with template.opened() as store:
        token = store.create_key("platform", administrator=True).token
        for name in ("LOGNAME", "USER"):
            monkeypatch.setenv(name, USER)
        shop.add(store, "shop.orders", shop.order_rows().slice(0, 1))
        with opened(store, token) as acting:
            assert set(CHANGES) <= set(VERBS)
            for change in CHANGES.values():
                change(acting)
        texts = recorded(store)
        assert [name for name, text in texts.items() if USER in text] == []
        by_him = {name for name, text in texts.items() if '"platform"' in text or '\\"platform\\"' in text}
        expected = {
            "registry.keys",
            "registry.grants",
            "registry.erasures",
            "registry.tags",
            "registry.shares",
            "registry.recipient_keys",
            "features.t_v1",
            "features.customer_orders_v1",
        }
        assert expected <= by_him
