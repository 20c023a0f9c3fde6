"""Somebody with grants works with a server: what was granted, and no more."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from featurestore import FeatureStore, connect
from featurestore.client import RemoteStore
from featurestore.errors import Forbidden, NotFound
from tests import shop
from tests.server.access.test_credentials import wait_until
from tests.server.conftest import Served, serve

pytestmark = pytest.mark.slow


class Granted(NamedTuple):
    """The store of a server, and somebody who uses it."""

    store: FeatureStore
    served: Served
    him: RemoteStore

    def give(self, privilege: str, on: str, works: Callable[[], object]) -> None:
        """Grant, and wait until the server has followed."""
        self.store.grant(privilege, on, "GROUP analysts")
        wait_until(lambda: not is_forbidden(works))


def refusal(call: Callable[[], object]) -> str:
    """What a refused call is told."""
    with pytest.raises(Forbidden) as caught:
        call()
    return str(caught.value)


def is_forbidden(call: Callable[[], object]) -> bool:
    """Whether a call is refused for want of a right."""
    try:
        call()
    except Forbidden:
        return True
    return False


@pytest.fixture
def granted(own_shop: FeatureStore) -> Iterator[Granted]:
    """A server that accepts jobs and runs none, and somebody without rights."""
    shop.add(own_shop, "shop.spine", shop.spine())
    token = own_shop.create_key("him", "analysts").token
    with serve(own_shop) as served, connect(served.url, token=token) as him:
        yield Granted(own_shop, served, him)


def test_lookups_and_joins(granted: Granted) -> None:
    him = granted.him
    assert him.services() == []
    granted.give("READ_ONLINE", "SERVICE churn", lambda: him.online_features("churn", [{"customer_id": 1}], [{"basket": 1.0}]))
    assert [service.name for service in him.services()] == ["churn"]
    assert him.views() == []
    with pytest.raises(Forbidden, match="READ_ONLINE on SERVICE plain"):
        him.online_features("plain", [{"customer_id": 1}])
    with pytest.raises(Forbidden, match="READ on SERVICE churn"):
        him.point_in_time("churn", shop.spine(), "asked_at")
    granted.give("READ", "SERVICE churn", lambda: him.point_in_time("churn", shop.spine(), "asked_at"))
    with pytest.raises(Forbidden, match=r"READ on TABLE shop\.spine"):
        him.point_in_time("churn", "SELECT * FROM shop.spine", "asked_at")
    granted.give("READ", "TABLE featurestore.shop.spine", lambda: him.point_in_time("churn", "iceberg:shop.spine", "asked_at"))


def test_near_misses_have_no_hidden_names(granted: Granted) -> None:
    granted.give("USE", "VIEW customer_order", lambda: granted.him.grants("VIEW customer_order")[0])
    wait_until(lambda: not is_forbidden(lambda: exists(granted.him, "customer_order")))
    with pytest.raises(NotFound) as caught:
        granted.him.view("customer_order")
    assert "customer_orders" not in f"{caught.value}{caught.value.details}"


def exists(store: RemoteStore, view: str) -> bool:
    """Whether there is such a view."""
    try:
        store.view(view)
    except NotFound:
        return False
    return True


def test_a_training_set_from_its_build_to_its_rows(granted: Granted) -> None:
    him, store = granted.him, granted.store
    for privilege, on in (("READ", "SERVICE churn"), ("WRITE", "TABLE training_sets.mine")):
        store.grant(privilege, on, "GROUP analysts")
    build = partial(him.training_set, "churn", shop.spine(), "asked_at", "churned")
    wait_until(lambda: "WRITE on TABLE training_sets.churn" in refusal(build))
    body = {"service": "churn", "timestamp": "asked_at", "name": "mine", "spine": {"sql": "SELECT * FROM shop.spine"}}
    headers = {"Authorization": str(him._transport._client.headers["Authorization"])}
    assert granted.served.http.post("/v1/training-sets", json=body, headers=headers).status_code == 403
    store.grant("READ", "TABLE shop.spine", "GROUP analysts")
    started = granted.served.http.post("/v1/training-sets", json=body, headers=headers)
    assert started.status_code == 202, started.text
    url = started.json()["url"]
    assert granted.served.http.get(url, headers=headers).status_code == 403, "to build is not to read"
    store.revoke("READ", "SERVICE churn", "GROUP analysts")
    store.grant("READ", "NAMESPACE training_sets", "GROUP analysts")
    wait_until(lambda: granted.served.http.get(url, headers=headers).status_code != 403)
    with shop.working(store):
        state = granted.served.http.get(f"{url}?wait=60", headers=headers).json()
        assert (state["state"], state["error"]["type"]) == ("failed", "Forbidden")
        assert "READ on SERVICE churn" in state["error"]["message"]
        store.grant("READ", "SERVICE churn", "GROUP analysts")
        made = him.training_set("churn", "SELECT * FROM shop.spine", "asked_at", name="mine")
        assert made.to_arrow().num_rows == 3
        assert [listed.id for listed in him.training_sets()] == [made.id]
        assert him.rebuild(made.id).digest == made.digest
        # Whoever built it owns it, until an administrator says otherwise.
        store.grant("OWN", "TABLE training_sets.mine", "USER her")
        store.revoke("READ", "NAMESPACE training_sets", "GROUP analysts")
        wait_until(lambda: is_forbidden(lambda: him.get_training_set(made.id)))
        for path in ("statistics", "files", "data"):
            assert granted.served.http.get(f"/v1/training-sets/{made.id}/{path}", headers=headers).status_code == 403


def test_grants_over_http(granted: Granted) -> None:
    him, store = granted.him, granted.store
    assert him.grants() == []
    with pytest.raises(Forbidden, match="none on anything"):
        him.grant("READ", "VIEW customer_orders", "USER him")
    granted.give("USE", "VIEW customer_orders", lambda: him.view("customer_orders"))
    with pytest.raises(Forbidden, match="MANAGE"):
        him.grant("READ", "VIEW customer_orders", "USER him")
    granted.give("MANAGE", "VIEW customer_orders", lambda: him.grant("READ", "VIEW customer_orders", "USER her"))
    assert [grant.granted_by for grant in store.grants("VIEW customer_orders", "USER her")] == ["him"]
    assert him.revoke("READ", "VIEW customer_orders", "USER her").to == "USER her"
    assert [grant.privilege for grant in him.grants("VIEW customer_orders")] == ["USE", "MANAGE"]
