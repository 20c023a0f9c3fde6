"""What recipients see of tables under masks and row filters."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Mask, RowFilter, TablePolicy
from tests import shop, worlds
from tests.server.sharing.conftest import CANARY, Shared, wait_until
from tests.server.sharing.reading import read_files

AsRecipient = Callable[[Mapping[str, Any]], httpx.Client]


@pytest.fixture
def grouped(shared: Shared, as_recipient: AsRecipient) -> Iterator[Callable[[list[str]], httpx.Client]]:
    """Makes recipients with groups, and their clients."""
    store, made = shared.served.store, []

    def make(groups: list[str]) -> httpx.Client:
        made.append(store.create_recipient("-".join(["grouped", *groups]), "partners", groups))
        http = as_recipient(made[-1].profile)
        wait_until(lambda: http.get("/shares").is_success)
        return http

    yield make
    for created in made:
        store.revoke_recipient(created.recipient.name)


def rows(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    """The rows of a table, from its files."""
    return [row for _, table in read_files(http, name) for row in table.to_pylist()]


def test_a_recipient_without_groups_is_under_every_rule(shared: Shared) -> None:
    assert rows(shared.http, "lake.people") == [
        {"id": 1, "email": "***@a.org", "country": "DE", "age": None},
        {"id": 2, "email": "***@b.org", "country": "DE", "age": None},
    ]
    profiles = rows(shared.http, "features.customer_profile")
    assert {row["customer_id"] for row in profiles} == {1}
    assert {row["country"] for row in profiles} == {"**"}
    schema = json.loads(shared.lines("lake.people")[1]["metaData"]["schemaString"])
    assert [field["type"] for field in schema["fields"]] == ["long", "string", "string", "long"], "masks keep types"


def test_no_byte_of_a_masked_value_leaves(shared: Shared) -> None:
    told = shared.http.post(f"{shared.table('lake.people')}/query", json={}).text
    told += shared.http.get(f"{shared.table('lake.people')}/metadata").text
    assert CANARY not in told
    for content, table in read_files(shared.http, "lake.people"):
        assert CANARY.encode() not in content
        assert b"FR" not in content
        assert table.num_rows == 2, "statistics count visible rows only"
    assert [json.loads(file["stats"]) for file in shared.files("lake.people")] == [{"numRecords": 2}]


def test_groups_are_exempt_and_copies_are_not_mixed_up(shared: Shared, grouped: Callable[[list[str]], httpx.Client]) -> None:
    everything = grouped(["pii", "world"])
    assert [row["email"] for row in rows(everything, "lake.people")] == [f"{CANARY}@a.org", "b@b.org", f"{CANARY}@c.org"]
    assert [row["age"] for row in rows(grouped(["pii"]), "lake.people")] == [30, 40]
    assert [row["email"] for row in rows(grouped(["world"]), "lake.people")] == ["***@a.org", "***@b.org", "***@c.org"]
    assert [row["email"] for row in rows(shared.http, "lake.people")] == ["***@a.org", "***@b.org"]
    assert {row["customer_id"] for row in rows(everything, "features.customer_profile")} == {1, 2}


def test_an_address_ends_when_other_rules_come_into_force(shared: Shared, grouped: Callable[[list[str]], httpx.Client]) -> None:
    store, everything = shared.served.store, grouped(["pii", "world"])
    table = worlds.load_source(store, "lake.notes", pa.table({"id": [1], "note": [CANARY]}))
    store.add_to_share("partners", f"TABLE {'.'.join(table.name())}")
    wait_until(lambda: everything.get("/shares/partners/all-tables").text.count("notes") == 1)

    def read(url: str) -> int:
        return shared.served.http.get(url).status_code

    def address(http: httpx.Client) -> str:
        lines = http.post("/shares/partners/schemas/lake/tables/notes/query", json={}).text.splitlines()
        return str(json.loads(lines[2])["file"]["url"])

    exempt, other = address(everything), address(shared.http)
    assert (read(exempt), read(other)) == (200, 200)
    store.apply([TablePolicy("lake.notes", masks={"note": Mask("'***'", unless=["pii"])})])
    wait_until(lambda: read(other) == 401)
    assert "masks or row filters" in shared.served.http.get(other).json()["message"]
    assert read(exempt) == 200, "it is not under the rule"
    masked = address(shared.http)
    assert read(masked) == 200
    store.apply([TablePolicy("lake.notes")])
    wait_until(lambda: read(other) == 200)
    assert read(masked) == 401
    store.remove_from_share("partners", "TABLE lake.notes")
    wait_until(lambda: "notes" not in shared.http.get("/shares/partners/all-tables").text)


def test_training_sets_are_refused_while_any_rule_is_in_force(shared: Shared, grouped: Callable[[list[str]], httpx.Client]) -> None:
    store, exempt = shared.served.store, grouped(["pii", "world"])
    spine = shop.spine().select(["customer_id", "asked_at", "churned"])
    made = store.training_set("plain", spine, "asked_at", "churned", name="shared")
    shared_as = {f"TRAINING_SET {made.id}": "sets.one", "TABLE training_sets.shared": "sets.all"}
    for on, name in shared_as.items():
        store.add_to_share("partners", on, name)
    wait_until(lambda: len(shared.http.get("/shares/partners/schemas/sets/tables").json().get("items", [])) == 2)
    try:
        for name in shared_as.values():
            refused = shared.http.post(f"{shared.table(name)}/query", json={})
            assert (refused.status_code, refused.json()["errorCode"]) == (403, "PERMISSION_DENIED")
            assert "recipient:acme" in refused.text
            found = rows(exempt, name)
            assert len(found) == spine.num_rows
            assert [row["__fs_row"] for row in found] == [0, 1, 2]
    finally:
        for on in shared_as:
            store.remove_from_share("partners", on)


def addresses_hold(http: httpx.Client, table: str) -> bool:
    """Whether a table's files can be downloaded: the processes that sign addresses and that check them follow policies by themselves."""
    answer = http.post(f"{table}/query", json={})
    urls = [json.loads(line)["file"]["url"] for line in answer.text.splitlines()[2:]] if answer.status_code == 200 else [""]
    return all(url and http.get(url, headers={"Authorization": ""}).status_code == 200 for url in urls)


def test_a_view_is_refused_where_older_rows_would_take_the_place_of_hidden_ones(shared: Shared) -> None:
    store = shared.served.store
    assert rows(shared.http, "features.customer_orders")
    store.apply([TablePolicy("customer_orders", rows=RowFilter("orders_7d > 0"))])
    try:
        url = f"{shared.table('features.customer_orders')}/query"
        wait_until(lambda: shared.http.post(url, json={}).status_code == 403)
        assert "older rows" in shared.http.post(url, json={}).text
    finally:
        store.apply([TablePolicy("customer_orders")])
    wait_until(lambda: addresses_hold(shared.http, shared.table("features.customer_orders")))
    assert rows(shared.http, "features.customer_orders")


def test_a_mask_follows_its_column_through_names_and_versions(shared: Shared) -> None:
    store = shared.served.store
    table = worlds.load_source(store, "lake.contacts", pa.table({"id": [1], "email": [CANARY], "note": ["n"]}))
    store.apply([TablePolicy("lake.contacts", masks={"email": Mask("'***'")})])
    store.add_to_share("partners", "TABLE lake.contacts")

    def told(**at: int) -> tuple[int, str]:
        """The greatest status of a query and its files, and all that they say."""
        query = shared.http.post(f"{shared.table('lake.contacts')}/query", json=at)
        urls = [json.loads(line)["file"]["url"] for line in query.text.splitlines()[2:]]
        answers = [shared.http.get(url, headers={"Authorization": ""}) for url in urls]
        read = [pq.read_table(io.BytesIO(answer.content)).to_pylist() for answer in answers if answer.is_success]
        return max(answer.status_code for answer in [query, *answers]), f"{query.text}{read}"

    wait_until(lambda: told()[0] == 200 and "***" in told()[1])
    with table.update_schema() as update:
        update.rename_column("email", "mail")
    # The policy masks a column that is not there any more.
    for status, text in (told(), told(version=1)):
        assert (status, CANARY in text, "lake.contacts masks the column email" in text) == (403, False, True)
    store.apply([TablePolicy("lake.contacts", masks={"mail": Mask("'***'")})])
    wait_until(lambda: told()[0] == 200)
    for status, text in (told(), told(version=1)):
        assert (status, CANARY in text, "***" in text) == (200, False, True)
    # The column is dropped, and another one has its last name: the first one is still what it was in the version before.
    with table.update_schema() as update:
        update.delete_column("mail")
    with table.update_schema() as update:
        update.rename_column("note", "mail")
    for status, text in (told(), told(version=1)):
        assert (status, CANARY in text, "***" in text) == (200, False, True)
    store.remove_from_share("partners", "TABLE lake.contacts")
    # The next test reads the list of the share.
    wait_until(lambda: "contacts" not in shared.http.get("/shares/partners/all-tables").text)
