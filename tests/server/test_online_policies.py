"""Lookups over HTTP by principals under policies: nothing of what is hidden is in any byte that they get, nor in logs and metrics."""

import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Mask, RowFilter, Source, TablePolicy
from featurestore.access.policy_book import PolicyBook
from featurestore.access.rights import Rights
from featurestore.pipelines.online_lookup.lookup_json import Answer
from featurestore.server.fast_lookups import FastLookups
from tests import shop
from tests.server.access.test_credentials import wait_until
from tests.server.conftest import Served, serve

CANARY, HIDDEN = "canary-51773", "hidden-90210"
AGE = 7_717_717
CUSTOMER = Entity("customer", keys="customer_id")
PROFILES = Source("profiles", table="t.profiles", timestamp="at")
VIEW = "secrets"
URL = "/v1/services/people/online"
ROUTES = [
    (URL, ""),
    (f"{URL}?full=false", ""),
    (f"{URL}?full=FALSE", ""),
    (f"{URL}?full=TRUE", ""),
    (URL, "application/vnd.apache.arrow.stream"),
]
ASKED = [{"customer_id": number} for number in (1, 2, 9)]
"""One whose row may be seen, one whose row is hidden, and nobody."""


def view(**policy: Any) -> FeatureView:
    return FeatureView(VIEW, CUSTOMER, PROFILES, features=["email", "country", "age"], ttl="1000d", **policy)


class People(NamedTuple):
    """A server over people with secrets, and the tokens of principals by name."""

    served: Served
    tokens: dict[str, str]

    def ask(self, name: str, url: str = URL, accept: str = "", entities: Any = ASKED) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {self.tokens[name]}",
            "content-type": "application/json",
            **({"accept": accept} if accept else {}),
        }
        return self.served.http.post(url, content=json.dumps({"entities": entities}), headers=headers)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with FeatureStore(home=tmp_path_factory.mktemp("people")) as store:
        columns = {"email": [f"{CANARY}@x", f"{HIDDEN}@x"], "country": ["DE", "FR"], "age": [AGE, AGE + 1]}
        at = pa.array([shop.days(1), shop.days(2)], shop.TIME)
        shop.add(store, "t.profiles", pa.table({"customer_id": [1, 2], "at": at, **columns}))
        secrets = view(
            masks={"email": Mask("'***' || right(email, 2)", unless=["pii"]), "age": Mask("NULL", unless=["pii"])},
            rows=RowFilter("country = 'DE'", unless=["world", "pii"]),
        )
        derived = {"domain": "right(email, 3)", "older": "age + 1"}
        store.apply([secrets, FeatureService("people", features=[secrets], derived=derived)])
        store.materialize()
        for group in ("analysts", "world", "pii"):
            store.grant("READ_ONLINE", "SERVICE people", f"GROUP {group}")
            store.grant("READ", "SERVICE people", f"GROUP {group}")
        groups: dict[str, list[str]] = {"masked": ["analysts"], "world": ["world"], "pii": ["pii"], "ungranted": ["others"]}
        tokens = {name: store.create_key(name, of).token for name, of in groups.items()}
        tokens["admin"] = store.create_key("admin", administrator=True).token
        with serve(store) as served:
            yield People(served, tokens)


def rows_of(answer: httpx.Response) -> list[list[Any]]:
    assert answer.status_code == 200, answer.text
    rows: list[list[Any]] = answer.json()["rows"]
    return rows


SEEN: dict[str, list[list[Any]]] = {
    "admin": [[f"{CANARY}@x", "DE", AGE, "3@x", AGE + 1], [f"{HIDDEN}@x", "FR", AGE + 1, "0@x", AGE + 2]],
    "pii": [[f"{CANARY}@x", "DE", AGE, "3@x", AGE + 1], [f"{HIDDEN}@x", "FR", AGE + 1, "0@x", AGE + 2]],
    "world": [["***@x", "DE", None, "*@x", None], ["***@x", "FR", None, "*@x", None]],
    "masked": [["***@x", "DE", None, "*@x", None], [None] * 5],
}


def test_each_principal_sees_what_its_policies_show(people: People) -> None:
    for name, seen in SEEN.items():
        for _ in range(3):
            answer = people.ask(name)
            assert rows_of(answer) == [*seen, [None] * 5], name
        there = ["PRESENT" if seen[1][1] else "NOT_FOUND"]
        assert answer.json()["status"] == {VIEW: ["PRESENT", *there, "NOT_FOUND"]}
        assert (answer.json()["timestamps"][VIEW][1] is None) == (there == ["NOT_FOUND"])
        store = people.served.store.as_principal(name, {"admin": "pii", "masked": "analysts"}.get(name, name))
        assert json.loads(store.online_features("people", ASKED).to_json())["rows"] == rows_of(answer)
    assert people.ask("ungranted").status_code == 403


def test_a_lookup_is_the_join_as_of_now(people: People) -> None:
    spine = pa.table({"customer_id": [1, 2, 9], "at": pa.array([shop.NOW] * 3, shop.TIME)})
    for name, groups in (("masked", "analysts"), ("world", "world"), ("pii", "pii")):
        store = people.served.store.as_principal(name, groups)
        joined = store.point_in_time("people", spine, "at")
        looked_up = store.online_features("people", ASKED)
        assert joined.select(list(looked_up.features)).to_pylist() == looked_up.to_arrow().to_pylist()
        assert joined.column("country").to_pylist()[1:] == [None if name == "masked" else "FR", None]


@pytest.mark.parametrize("url, accept", ROUTES)
def test_no_byte_tells_what_is_hidden(people: People, caplog: pytest.LogCaptureFixture, url: str, accept: str) -> None:
    caplog.set_level(logging.DEBUG)
    raw = people.ask("admin", url, accept)
    assert CANARY.encode() in raw.content
    for name in ("masked", "world", "ungranted"):
        for entities in (ASKED, [{"customer_id": 1}, {"customer_id": "x"}], [{"customer": 1}], [{"customer_id": 1, "email": "?"}]):
            answer = people.ask(name, url, accept, entities)
            told = (
                answer.content
                + str(answer.headers).encode()
                + caplog.text.encode()
                + people.served.http.get("/metrics", headers={"Authorization": f"Bearer {people.tokens['admin']}"}).content
            )
            assert not [word for word in (CANARY, HIDDEN, str(AGE), str(AGE + 1)) if word.encode() in told], (name, answer.text)
            caplog.clear()
    # A hidden row and no row are the same bytes, of the same size.
    hidden, nobody = (people.ask("masked", url, accept, [{"customer_id": number}]) for number in (2, 9))
    assert hidden.content == nobody.content
    assert {**hidden.headers, "date": ""} == {**nobody.headers, "date": ""}


def test_the_fast_path_answers_whoever_is_under_policies(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    fast: list[bool] = []
    answer = FastLookups._answer

    async def watched(self: FastLookups, service: str, content: bytes, full: bool, rights: Rights) -> Answer | None:
        found = await answer(self, service, content, full, rights)
        fast.append(found is not None)
        return found

    monkeypatch.setattr(FastLookups, "_answer", watched)
    for name in ("masked", "world", "masked", "admin", "masked"):
        slow = people.ask(name, f"{URL}?full=TRUE")
        assert people.ask(name).content == slow.content
    assert fast[-3:] == [True] * 3


def test_a_policy_holds_within_a_second_and_never_without_its_registry(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    store = people.served.store
    policy = next(step for step in store.policies() if step.rule == "rows")
    assert policy.unless == ("world", "pii")
    assert rows_of(people.ask("world"))[1][1] == "FR"
    before = view(
        masks={"email": Mask("'***' || right(email, 2)", unless=["pii"]), "age": Mask("NULL", unless=["pii"])},
        rows=RowFilter("country = 'DE'", unless=["world", "pii"]),
    )
    store.apply([TablePolicy(VIEW, masks={"country": Mask("'?'", unless=["pii"])}, rows=RowFilter("age > 0"))])
    wait_until(lambda: rows_of(people.ask("world"))[0] == [f"{CANARY}@x", "?", AGE, "3@x", AGE + 1])
    assert rows_of(people.ask("world", f"{URL}?full=TRUE"))[1][1] == "?"
    store.apply([before])
    wait_until(lambda: [rows_of(people.ask(name))[:2] for name in SEEN] == list(SEEN.values()))
    with monkeypatch.context() as patch:
        # As if the catalog had not responded for five minutes.
        patch.setattr(PolicyBook, "_fresh", unread)
        for url, accept in ROUTES:
            refused = people.ask("masked", url, accept)
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "NotReady")
            assert people.ask("admin", url, accept).status_code == 200


def unread(self: PolicyBook) -> Any:
    """As `PolicyBook._fresh` after five minutes without the catalog."""
    self._looked = float("-inf")
    return super(PolicyBook, self)._fresh()
