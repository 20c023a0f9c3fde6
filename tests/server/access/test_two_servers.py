"""What changes on one server holds on another one over the same catalog; and what streams meanwhile."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pytest

from featurestore import FeatureStore, RowFilter, TablePolicy, connect
from featurestore.access import key_ring
from featurestore.errors import Forbidden, Unauthorized
from featurestore.values import times
from tests.server.access.test_credentials import LOOKUP, QUESTION, header, wait_until
from tests.server.conftest import Served, serve

pytestmark = pytest.mark.slow

ANALYSTS = "GROUP analysts"
LONG = f"SELECT a.customer_id, 1.0 AS basket, a.ordered_at FROM {', '.join(f'shop.orders {name}' for name in 'abcdefghi')}"
"""A quarter of a million rows: the answer is larger than what the buffers of a connection hold."""


class Two(NamedTuple):
    """Two servers over one catalog, an administrator of the first, and the token of somebody with grants."""

    first: Served
    second: Served
    admin: Any
    token: str

    def lookup(self) -> httpx.Response:
        """A lookup of customer 1, on the second server."""
        return self.second.http.post(LOOKUP, json=QUESTION, headers=header(self.token))

    def spend(self) -> Any:
        """The spend of customer 1 on the second server; None if her row is hidden, or gone."""
        answer = self.lookup().json()
        return dict(zip(answer["features"], answer["rows"][0], strict=True))["spend_30d"]

    def joined(self) -> list[Any]:
        """The customers of a join on the second server, each with whether it has a spend."""
        with connect(self.second.url, token=self.token) as him:
            rows = him.point_in_time("plain", "SELECT customer_id, ordered_at + INTERVAL 1 DAY AS at FROM shop.orders", "at")
            return sorted((row["customer_id"], row["spend_30d"] is not None) for row in rows.to_pylist())


@pytest.fixture
def two(own_shop: FeatureStore) -> Iterator[Two]:
    own_shop.materialize()
    admin, token = own_shop.create_key("her", administrator=True).token, own_shop.create_key("him", "analysts").token
    for privilege, on in (("READ", "CATALOG"), ("READ_ONLINE", "CATALOG")):
        own_shop.grant(privilege, on, ANALYSTS)
    with (
        FeatureStore(settings=own_shop.settings) as other,
        serve(own_shop) as first,
        serve(other) as second,
        connect(first.url, token=admin) as administrator,
    ):
        yield Two(first, second, administrator, token)


def test_the_other_server_obeys(two: Two) -> None:
    raw = two.spend()
    assert raw is not None
    assert two.spend() == raw, "kept now"
    assert [customer for customer, _ in two.joined()] == [1, 1, 1, 2]
    two.admin.apply(
        [
            TablePolicy("shop.orders", rows=RowFilter("customer_id <> 1")),
            TablePolicy("customer_orders", rows=RowFilter("customer_id <> 1")),
        ]
    )
    wait_until(lambda: two.spend() is None)
    assert two.lookup().json()["status"]["customer_orders"] == ["NOT_FOUND"]
    wait_until(lambda: [customer for customer, _ in two.joined()] == [2])
    two.admin.apply([TablePolicy("customer_orders"), TablePolicy("shop.orders")])
    wait_until(lambda: two.spend() == raw)
    two.admin.revoke("READ_ONLINE", "CATALOG", ANALYSTS)
    assert two.lookup().status_code == 200, "READ contains it"
    two.admin.revoke("READ", "CATALOG", ANALYSTS)
    wait_until(lambda: two.lookup().status_code == 403)
    with pytest.raises(Forbidden):
        two.joined()
    two.admin.grant("READ", "CATALOG", ANALYSTS)
    wait_until(lambda: two.lookup().status_code == 200)
    two.admin.revoke_key(two.token.split("_")[1])
    wait_until(lambda: two.lookup().status_code == 401)
    with pytest.raises(Unauthorized):
        two.joined()


def test_what_is_erased_is_in_no_answer_any_more(two: Two) -> None:
    assert two.spend() is not None
    assert two.spend() is not None
    assert two.joined() == [(1, True), (1, True), (1, True), (2, True)]
    two.admin.erase("customer", 1)
    wait_until(lambda: two.spend() is None)
    assert two.lookup().json()["status"]["customer_orders"] == ["NOT_FOUND"]
    assert two.joined() == [(1, False), (1, False), (1, False), (2, True)], "of the source, whoever owns it removes rows"


def test_an_answer_that_has_begun_is_finished_as_it_began(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key expires, its grant is revoked and its rows are hidden meanwhile. The next request is refused."""
    body = {"service": "churn", "timestamp": "ordered_at", "spine": {"sql": LONG}}
    with two.second.http.stream("POST", "/v1/point-in-time", json=body, headers=header(two.token)) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes(1 << 16)
        received = [next(chunks)]
        two.admin.apply([TablePolicy("shop.orders", rows=RowFilter("false")), TablePolicy("customer_orders", declassify_rows=True)])
        for privilege in ("READ", "READ_ONLINE"):
            two.admin.revoke(privilege, "CATALOG", ANALYSTS)
        wait_until(lambda: two.second.http.get("/v1/services/churn", headers=header(two.token)).status_code == 403)
        late = SimpleNamespace(now=lambda: times.now() + 100 * 86_400_000_000)
        with monkeypatch.context() as patch:
            patch.setattr(key_ring, "times", late)
            assert two.second.http.get("/v1/services/churn", headers=header(two.token)).status_code == 401
            received += chunks
    table = pa.ipc.open_stream(b"".join(received)).read_all()
    assert table.num_rows == 4**9
    assert table.nbytes > 16 << 20, "more than buffers hold"
