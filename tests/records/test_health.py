"""Health: the errors of the components, and which verbs work without some of them."""

from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import NOT_INSTALLED, NotReady
from featurestore.records.health import CACHED_ONLY, ServerHealth, StoreHealth, served_verbs

VERBS = ("lookups", "training sets", "materializations", "predictions")


@pytest.mark.parametrize(
    "down, states",
    [
        (set(), ("ok", "ok", "ok", "ok")),
        ({"online store"}, ("down", "ok", "down", "down")),
        ({"catalog"}, (CACHED_ONLY, "down", "down", CACHED_ONLY)),
        ({"warehouse"}, (CACHED_ONLY, "down", "down", CACHED_ONLY)),
        ({"models"}, ("ok", "ok", "ok", CACHED_ONLY)),
        ({"catalog", "online store", "models"}, ("down", "down", "down", "down")),
    ],
)
def test_a_verb_works_without_components_that_it_does_not_need(down: set[str], states: tuple[str, ...]) -> None:
    assert served_verbs(down) == dict(zip(VERBS, states, strict=True))


def test_a_store_that_works_has_no_errors(store: FeatureStore) -> None:
    health = store.check(write=True)
    assert health == {"catalog": None, "warehouse": None, "online store": None}
    assert (health.ok, health.errors) == (True, {})


def test_an_error_is_an_exception_and_json(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path, online="redis://127.0.0.1:1/0")) as store:
        health = store.check()
    error = health["online store"]
    assert isinstance(error, NotReady)
    assert (health.ok, health.errors) == (False, {"online store": error})
    described = health.to_dict()
    assert (described["catalog"], described["online store"]["type"]) == (None, "NotReady")
    assert described["online store"]["message"] == error.message
    assert health != StoreHealth({"catalog": None})


def test_a_server_without_models_works() -> None:
    assert ServerHealth({"catalog": "ok", "models": NOT_INSTALLED}).ok
    assert not ServerHealth({"catalog": "ok", "lookups": CACHED_ONLY}).ok
