"""Who sends a request: no credentials, the token of the settings, API keys."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from featurestore import FeatureStore, connect
from featurestore.access import key_ring, registry_follower
from featurestore.errors import Forbidden, NotReady, RequestError, Unauthorized
from featurestore.lakehouse import tables
from featurestore.server.run import run_server
from featurestore.settings import Settings
from tests import shop
from tests.server.conftest import Served, serve

LOOKUP = "/v1/services/churn/online"
QUESTION = {"entities": [{"customer_id": 1}], "request": [{"basket": 1.0}]}


def header(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again until it holds, which must be within a second by what is promised; more for a busy machine."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "servers follow within a second"
        time.sleep(0.05)


def asks(served: Served) -> bool:
    """Whether the server refuses requests without credentials."""
    return served.http.get("/v1/views").status_code == 401


@pytest.fixture
def keyed(own_shop: FeatureStore) -> Iterator[tuple[Served, str, str]]:
    """A server of a store with keys: the server, the token of an administrator, and that of somebody else."""
    admin, other = own_shop.create_key("her", administrator=True), own_shop.create_key("him", "analysts")
    with serve(own_shop) as served:
        yield served, admin.token, other.token


def test_a_running_server_takes_up_the_first_key(own: Served) -> None:
    assert own.http.get("/v1/views").is_success
    assert "security" not in own.http.get("/openapi.json").json()
    with connect(own.url) as anybody:
        created = anybody.create_key("her", administrator=True)
    assert created.key.created_by == "local"
    wait_until(lambda: asks(own))
    told = own.http.get("/v1/views").json()["error"]
    assert told["type"] == "Unauthorized"
    assert "featurestore key create" in told["message"]
    assert own.http.get("/openapi.json").json()["security"] == [{"token": []}]
    assert own.http.get("/v1/views", headers=header(created.token)).is_success
    with connect(own.url) as nobody, pytest.raises(Unauthorized, match="asks for a token"):
        nobody.views()
    with connect(own.url, token=created.token) as her:
        other = her.create_key("him", expires="1h")
        assert other.key.created_by == "her"
        wait_until(lambda: own.http.get("/v2", headers=header(other.token)).is_success)
        assert her.revoke_key(other.key.id).revoked_by == "her"
        wait_until(lambda: own.http.get("/v2", headers=header(other.token)).status_code == 401)
        her.revoke_key(created.key.id)
    wait_until(lambda: own.http.get("/v1/views", headers=header(created.token)).status_code == 401)
    assert asks(own), "a server that has asked for credentials never opens again"


def test_only_an_administrator_may(keyed: tuple[Served, str, str]) -> None:
    served, admin, other = keyed
    assert served.http.post(LOOKUP, json=QUESTION, headers=header(admin)).is_success
    for wrong in ({}, header("wrong"), header(admin[:-1]), {"Authorization": admin}, {"Authorization": f"Basic {admin}"}):
        answer = served.http.post(LOOKUP, json=QUESTION, headers=wrong)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "Unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert admin[10:-1] not in answer.text
    refused = served.http.post(LOOKUP, json=QUESTION, headers=header(other)).json()["error"]
    assert refused["type"] == "Forbidden"
    assert "him does not have" in refused["message"]
    with connect(served.url, token=other) as him:
        assert him.views() == []
        for call in (him.materialize, him.keys, lambda: him.create_key("mine"), him.explain_retention):
            with pytest.raises(Forbidden, match="administrator"):
                call()
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert served.http.get(path).is_success


@pytest.mark.slow
def test_requests_that_workers_answer_carry_their_principal(keyed: tuple[Served, str, str]) -> None:
    served, admin, other = keyed
    with connect(served.url, token=admin) as her:
        assert not her.plan(shop.DEFINITIONS).changed
    with connect(served.url, token=other) as him, pytest.raises(Forbidden):
        him.plan(shop.DEFINITIONS)


def test_the_token_of_the_settings_is_an_administrator(own_shop: FeatureStore) -> None:
    key = own_shop.create_key("him")
    with FeatureStore(settings=Settings(home=own_shop.settings.home, token="s3cret-token")) as store, serve(store) as served:
        with connect(served.url, token="s3cret-token") as operator:
            assert operator.create_key("her").key.created_by == "token"
        assert served.http.get("/v2", headers=header(key.token)).is_success
        assert served.http.get("/v1/entities", headers=header(key.token)).status_code == 403


def test_a_use_is_recorded_at_the_latest_when_the_server_ends(own_shop: FeatureStore) -> None:
    key = own_shop.create_key("her", administrator=True)
    with serve(own_shop) as served:
        assert served.http.get("/v1/views", headers=header(key.token)).is_success
    assert own_shop.keys()[0].last_used is not None


def test_without_the_catalog_nobody_is_let_in_for_long(keyed: tuple[Served, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    served, admin, _ = keyed
    assert served.http.get("/v2", headers=header(admin)).is_success

    def refuse(*_: Any) -> None:
        raise NotReady("the catalog is down")

    monkeypatch.setattr(tables, "pointer", refuse)
    assert served.http.get("/v2", headers=header(admin)).is_success
    monkeypatch.setattr(registry_follower, "KEPT_SECONDS", 0.0)
    answer = served.http.get("/v2", headers=header(admin))
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "NotReady")
    assert served.http.get("/v2").status_code == 401


def test_a_server_that_never_read_the_keys_lets_nobody_in(own_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotReady("the catalog is down")

    with monkeypatch.context() as broken:
        broken.setattr(key_ring.KeyRing, "refresh", refuse)
        with serve(own_shop) as served:
            answer = served.http.get("/v2")
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "NotReady")
            assert served.http.get("/healthz").is_success


def test_log_lines_name_the_principal(
    keyed: tuple[Served, str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, admin, _ = keyed

    def fail(*_: Any) -> None:
        raise NotReady("nothing works")

    monkeypatch.setattr(FeatureStore, "entities", fail)
    assert served.http.get("/v1/entities", headers=header(admin)).status_code == 503
    assert "GET /v1/entities by her: nothing works" in caplog.text


def test_a_public_address_is_listened_on_once_there_are_keys(own_shop: FeatureStore) -> None:
    def stop(url: str) -> None:
        raise KeyboardInterrupt

    public = own_shop.settings.model_copy(update={"host": "0.0.0.0", "port": 0})
    with pytest.raises(RequestError, match="featurestore key create NAME --admin"):
        run_server(public, stop)
    own_shop.revoke_key(own_shop.create_key("her").key.id)
    with pytest.raises(KeyboardInterrupt):
        run_server(public, stop)
