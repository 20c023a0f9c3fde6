"""What is done without a request is recorded too: methods of a store in this process, commands, and jobs."""

from pathlib import Path
from typing import Any

import pytest

from featurestore import Entity, FeatureStore, Settings, connect
from featurestore.audit_log.log import OPENED
from featurestore.errors import Forbidden, OutOfResources
from featurestore.records import authors
from tests.access.test_principal_store import LISTS, VERBS, build
from tests.audit_log.test_server import CANARY
from tests.server.conftest import serve


def recorded(store: FeatureStore) -> list[Any]:
    """The entries, the oldest first."""
    return [entry for entry in reversed(store.audit_log(limit=1000)) if entry.action != OPENED]


@pytest.fixture
def audited(own_shop: FeatureStore) -> FeatureStore:
    """A shop with an audit log."""
    return FeatureStore(settings=own_shop.settings.model_copy(update={"audit_log": "on", "audit_log_seconds": 3600.0}))


def test_a_store_records_what_is_done(audited: FeatureStore) -> None:
    with audited as store:
        store.materialize("customer_orders")
        store.grant("READ", "VIEW customer_orders", "GROUP analysts")
        store.online_features("churn", [{"customer_id": CANARY}], request=[{"basket": 1.0}])
        spine = [{"customer_id": 1, "basket": 2.0, "asked_at": "2026-03-05T00:00:00Z"}]
        store.training_set("churn", spine, timestamp="asked_at", name="mine")
        with pytest.raises(Exception, match="no view"):
            store.remove_view("nothing")
        with pytest.raises(TypeError):
            store.remove_view()  # type: ignore[call-arg]
        with pytest.raises(Forbidden):
            store.as_principal("him").materialize("customer_orders")
        store.as_principal("him", "analysts").get_training_set  # noqa: B018 - nothing is done yet
        entries = recorded(store)
        assert [(entry.action, entry.error) for entry in entries] == [
            ("materialize", None),
            ("grant", None),
            ("online_features", None),
            ("training_set", None),
            ("remove_view", "NotFound"),
            ("remove_view", "TypeError"),
            ("materialize", "Forbidden"),
        ]
        assert {entry.principal for entry in entries[:-1]} == {authors.author()}
        assert (entries[-1].principal, entries[-1].scope) == ("him", {"names": "customer_orders"})
        assert entries[1].scope == {"privilege": "READ", "on": "VIEW customer_orders", "to": "GROUP analysts"}
        assert entries[3].scope == {"service": "churn", "timestamp": "asked_at", "name": "mine"}
        assert [entry.action for entry in store.audit_log(entity={"customer_id": CANARY})] == ["online_features"]
        assert store.audit_log(principal="nobody") == []
        count = store.verify_audit_log().entries
        store.maintain()
        assert len(store.catalog.load_table("system.audit").scan().to_arrow()) == count
        assert store.verify_audit_log().verified


def test_every_verb_of_a_principal_is_recorded_once(audited: FeatureStore) -> None:
    with audited as store:
        build(store)
        made = len(recorded(store))
        stranger, refused = store.as_principal("stranger"), []
        for name, (_, call) in VERBS.items():
            try:
                call(stranger)
            except Forbidden:
                refused.append(name)
        entries = recorded(store)[made:]
        assert [(entry.principal, entry.action) for entry in entries] == [("stranger", name) for name in VERBS]
        assert [entry.action for entry in entries if entry.error == "Forbidden"] == refused
        assert [entry.action for entry in entries if entry.error is None] == list(LISTS)
        store.grant("USE", "CATALOG", "USER stranger")
        assert stranger.entities()
        assert [(entry.principal, entry.action, entry.error) for entry in recorded(store)[-1:]] == [("stranger", "entities", None)]


def test_nothing_is_done_that_cannot_be_recorded(audited: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with audited as store:
        monkeypatch.setattr("featurestore.audit_log.log.FREE_BYTES", 1 << 62)
        with pytest.raises(OutOfResources, match="cannot be recorded"):
            store.grant("READ", "VIEW customer_orders", "GROUP analysts")
        assert store.grants() == []
        monkeypatch.undo()
        store.grant("READ", "VIEW customer_orders", "GROUP analysts")
        assert [entry.action for entry in recorded(store)] == ["grant"]


def test_a_store_without_an_audit_log_writes_none(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as store:
        store.apply([Entity("seller", "seller_id")])
        assert not (tmp_path / "home" / "audit").exists()


@pytest.mark.slow
def test_jobs_are_recorded_with_their_principal(audited: FeatureStore) -> None:
    key = audited.create_key("her", administrator=True)
    with serve(audited, jobs=True) as served, connect(served.url, key.token) as her:
        her.materialize("customer_orders")
        with pytest.raises(Exception, match="nothing"):
            her.rebuild("nothing-0")
        entries = recorded(audited)
        jobs = [entry for entry in entries if entry.action.startswith("job ")]
        assert [(entry.principal, entry.key, entry.action) for entry in jobs[:2]] == [("her", key.key.id, "job materialization")] * 2
        assert [entry.scope["phase"] for entry in jobs[:2]] == ["begin", "end"]
        assert jobs[0].scope["names"] == ["customer_orders"]
        assert jobs[0].objects == jobs[1].objects
        failed = [entry.error for entry in jobs if entry.action == "job rebuild" and entry.scope["phase"] == "end"]
        assert failed in ([], ["NotFound"])
        # What the server does is recorded once: as a request.
        assert not [entry for entry in entries if entry.action == "materialize"]
        assert audited.verify_audit_log().verified
