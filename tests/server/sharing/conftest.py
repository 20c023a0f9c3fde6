"""A server with shares, and the profile of a recipient."""

import json
import time as clock
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFileContent

from featurestore import FeatureStore, Mask, RowFilter, TablePolicy
from featurestore.lakehouse import tables
from tests import shop, worlds
from tests.lakehouse.deletes import delete_rows
from tests.server.conftest import Served, serve

CANARY = "canary-3141592"
"""A value that no recipient may see: it is in rows that were deleted, in a column that was dropped, and in a table that is not shared."""
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
TYPES = pa.table(
    {
        "flag": pa.array([True, None]),
        "small": pa.array([2**31 - 1, None], pa.int32()),
        "big": pa.array([2**63 - 1, None]),
        "single": pa.array([0.1, None], pa.float32()),
        "real": pa.array([-0.0, None]),
        "amount": pa.array([Decimal("12345678901234567890.12345"), None], pa.decimal128(38, 5)),
        "text": pa.array(["é\n", None]),
        "bytes": pa.array([b"\x00\xff", None]),
        "fixed": pa.array([b"abcd", None], pa.binary(4)),
        "day": pa.array([date(1582, 10, 15), None]),
        "instant": pa.array([NOW, None], pa.timestamp("us", "UTC")),
        "local": pa.array([NOW.replace(tzinfo=None), None], pa.timestamp("us")),
        "id": pa.array([uuid.UUID(int=7).bytes, None], pa.uuid()),
        "clock": pa.array([time(23, 59, 59, 999999), None], pa.time64("us")),
        "list": pa.array([[1, None], None], pa.list_(pa.int64())),
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"at": NOW.replace(tzinfo=None), "n": 1}, None], pa.struct([("at", pa.timestamp("us")), ("n", pa.int32())])),
    }
)


@dataclass(frozen=True)
class Shared:
    """The server, the recipient's profile, and its HTTP client."""

    served: Served
    profile: Path
    http: httpx.Client

    def address(self, table: str) -> str:
        """A table as clients name it, such as `lake.versions`."""
        return f"{self.profile}#partners.{table}"

    def table(self, name: str) -> str:
        """The path of a table of the share `partners`."""
        schema, _, table = name.partition(".")
        return f"/shares/partners/schemas/{schema}/tables/{table}"

    def lines(self, name: str, **query: Any) -> list[dict[str, Any]]:
        """The lines of a query."""
        answer = self.http.post(f"{self.table(name)}/query", json=query)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def files(self, name: str, **query: Any) -> list[dict[str, Any]]:
        """The files of a query."""
        return [line["file"] for line in self.lines(name, **query)[2:]]


def fill(store: FeatureStore) -> None:
    """The shop, and tables of which clients of Delta Sharing read something else than they should, unless the server takes care."""
    shop.fill(store)
    worlds.load_source(store, "lake.types", TYPES)
    worlds.load_source(store, "lake.empty", TYPES.slice(0, 0))
    versions = worlds.load_source(store, "lake.versions", pa.table({"n": [1]}))
    for n in (2, 3):
        versions.append(pa.table({"n": [n]}))
    worlds.load_source(store, "lake.growing", pa.table({"n": [1]}))
    renamed = worlds.load_source(store, "lake.renamed", pa.table({"old": ["a"], "gone": [CANARY]}))
    with renamed.update_schema() as update:
        update.rename_column("old", "new")
        update.delete_column("gone")
        update.add_column("added", renamed.schema().find_type("old"))
    renamed.append(pa.table({"new": ["b"], "added": ["c"]}))
    worlds.load_source(store, "lake.deleted", pa.table({"n": [1, 2, 3], "text": ["a", CANARY, "c"]}))
    delete_rows(tables.load(store.catalog, "lake.deleted"), DataFileContent.POSITION_DELETES, [1])
    people = {
        "id": [1, 2, 3],
        "email": [f"{CANARY}@a.org", "b@b.org", f"{CANARY}@c.org"],
        "country": ["DE", "DE", "FR"],
        "age": [30, 40, 50],
    }
    worlds.load_source(store, "lake.people", pa.table(people))
    rules = {"email": Mask("'***' || right(email, 6)", unless=["pii"]), "age": Mask("NULL", unless=["pii"])}
    store.apply(
        [
            TablePolicy("lake.people", masks=rules, rows=RowFilter("country = 'DE'", unless=["world"])),
            TablePolicy(
                "customer_profile", masks={"country": Mask("'**'", unless=["pii"])}, rows=RowFilter("customer_id <> 2", unless=["world"])
            ),
        ]
    )
    worlds.load_source(store, "lake.hidden", pa.table({"text": [CANARY]}))
    store.create_share("partners")
    for on in (
        "VIEW customer_orders",
        "VIEW customer_profile",
        "TABLE lake.people",
        *(f"TABLE lake.{name}" for name in ("types", "empty", "versions", "growing", "renamed", "deleted")),
    ):
        store.add_to_share("partners", on)
    store.create_share("inside")
    store.add_to_share("inside", "TABLE lake.hidden")


@pytest.fixture(scope="session")
def sharing_template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The store of `fill`, filled once."""
    return worlds.Template(tmp_path_factory.mktemp("sharing"), fill)


def profile_of(served: Served, profile: Mapping[str, Any], path: Path) -> Path:
    """A profile as a file, with the address of this server."""
    path.write_text(json.dumps({**profile, "endpoint": f"{served.url}/delta-sharing"}))
    return path


def client_of(served: Served, profile: Mapping[str, Any]) -> httpx.Client:
    """An HTTP client of the protocol."""
    headers = {"Authorization": f"Bearer {profile['bearerToken']}"}
    return httpx.Client(base_url=f"{served.url}/delta-sharing", headers=headers, timeout=60)


@pytest.fixture(scope="session")
def shared(sharing_template: worlds.Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """That store behind a server, with the recipient `acme`, for all tests here: they change other recipients and tables only."""
    with sharing_template.opened() as store:
        made = store.create_recipient("acme", "partners")
        with serve(store) as served, client_of(served, made.profile) as http:
            yield Shared(served, profile_of(served, made.profile, tmp_path_factory.mktemp("profiles") / "acme.share"), http)


@pytest.fixture
def as_recipient(shared: Shared) -> Iterator[Callable[[Mapping[str, Any]], httpx.Client]]:
    """Makes HTTP clients of other recipients."""
    clients: list[httpx.Client] = []

    def make(profile: Mapping[str, Any]) -> httpx.Client:
        clients.append(client_of(shared.served, profile))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again until it holds, which must be within a second by what is promised; more for a busy machine."""
    deadline = clock.monotonic() + 10
    while not condition():
        assert clock.monotonic() < deadline, "servers follow within a second"
        clock.sleep(0.05)
