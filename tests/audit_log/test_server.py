"""The audit log of a server: one entry for each request on every route, before its answer, and no keys in it."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from featurestore import FeatureStore, connect
from featurestore.audit_log import log
from featurestore.audit_log.entry import Entry, open_line
from featurestore.audit_log.flush import Flusher
from featurestore.audit_log.folder import audit_path, list_segments, read_lines
from featurestore.errors import Forbidden
from featurestore.server.app import create_app
from featurestore.server.health import UNRECORDED_PATHS
from tests.server.access.test_routes import BODIES, FILE, NAMES
from tests.server.conftest import Served, serve

LOOKUP = "/v1/services/churn/online"
CANARY = 987654321
"""A key that must not be in any byte of the log."""


@contextmanager
def audited(store: FeatureStore, **settings: Any) -> Iterator[Served]:
    """A server of the store with an audit log."""
    changed = store.settings.model_copy(update={"audit_log": "on", "audit_log_seconds": 3600.0, **settings})
    with FeatureStore(settings=changed) as other, serve(other) as served:
        yield served


def entries(store: FeatureStore) -> list[Entry]:
    """The entries of requests in files, in the order of time."""
    found = [
        open_line(line).entry
        for segments in list_segments(audit_path(store.settings)).values()
        for segment in segments
        for line in read_lines(segment)
    ]
    return sorted((entry for entry in found if entry.action != log.OPENED), key=lambda entry: (entry.time, entry.number))


def all_routes() -> list[tuple[str, str]]:
    """Method and template of every route."""
    app = create_app(FeatureStore(home=Path("/nonexistent")))
    return [(method, route.path) for route in app.routes if isinstance(route, Route) for method in sorted(route.methods or ())]


def path_of(template: str) -> str:
    """A template with its parameters filled."""
    return FILE if template == "/docs/{name}" else re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: NAMES[match[1]], template)


@pytest.mark.slow
def test_every_route_writes_one_entry(own_shop: FeatureStore) -> None:
    admin, other = own_shop.create_key("her", administrator=True).token, own_shop.create_key("him").token
    routes = all_routes()
    assert len(routes) > 60
    expected: Counter[tuple[str, str]] = Counter()
    with audited(own_shop) as served:
        for method, template in routes:
            path = path_of(template)
            for token, who in ((None, "nobody"), (other, "him")):
                body = BODIES.get(template, {}) if method == "POST" else None
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                if method == "GET" or body is not None:
                    served.http.request(method, path, json=body, headers=headers)
                else:
                    served.http.request(method, path, headers=headers)
                if path not in UNRECORDED_PATHS:
                    # Webhooks have a secret of their own, and only recipients are known to shares.
                    unknown = template == "/v1/mlflow/webhooks" or template.startswith("/delta-sharing")
                    expected["nobody" if unknown else who, f"{method} {template}"] += 1
        served.http.get("/nothing/of/this", headers={"Authorization": f"Bearer {admin}"})
        expected["her", "GET unmatched"] += 1
        written = entries(own_shop)
    assert Counter((entry.principal, entry.action) for entry in written) == expected
    assert {entry.status for entry in written if entry.principal == "nobody" and "webhooks" not in entry.action} == {401}
    assert {entry.error for entry in written if entry.status == 403} == {"Forbidden"}
    assert all(entry.key is not None for entry in written if entry.principal in ("her", "him"))
    assert all((entry.error is None) is (entry.status is not None and entry.status < 400) for entry in written)


@pytest.mark.slow
def test_an_entry_names_what_was_asked(own_shop: FeatureStore) -> None:
    own_shop.materialize()
    with audited(own_shop) as served, connect(served.url) as remote:
        question = {"entities": [{"customer_id": CANARY}], "request": [{"basket": 1.0}]}
        for headers in ({}, {}, {"X-Request-Id": "mine-1"}, {"Accept": "application/vnd.apache.arrow.stream"}):
            assert served.http.post(LOOKUP, json=question, headers=headers).status_code == 200
        many = {"entities": [{"customer_id": number} for number in range(CANARY, CANARY + 17)], "request": [{"basket": 1.0}] * 17}
        assert served.http.post(LOOKUP, json=many).status_code == 200
        assert served.http.post(LOOKUP, json={"entities": [{"customer_id": str(CANARY)}]}).status_code == 400
        remote.grant("READ", "VIEW customer_orders", "GROUP analysts")
        with pytest.raises(Exception, match="nothing"):
            remote.view("nothing")
        asked = {"spine": {"rows": [{"customer_id": CANARY, "basket": 1.0, "asked_at": "2026-03-05T00:00:00Z"}]}}
        served.http.post("/v1/point-in-time", json={"service": "churn", "timestamp": "asked_at", **asked})
        written = entries(own_shop)
        lookups, (grant, view, join) = written[:6], written[6:]
        assert {(entry.principal, entry.action, tuple(entry.objects)) for entry in lookups} == {
            ("local", "POST /v1/services/{service}/online", ("services/churn",))
        }
        assert [entry.status for entry in lookups] == [200, 200, 200, 200, 200, 400]
        assert lookups[2].request_id == "mine-1"
        assert lookups[0].entities == lookups[1].entities == lookups[2].entities == lookups[3].entities
        # The same customer, whether its key was sent as a number or as text.
        assert len(lookups[0].entities) == 1
        assert lookups[5].entities == lookups[0].entities
        assert (lookups[4].entities, lookups[4].body is not None) == ((), True)
        assert grant.scope == {"privilege": "READ", "on": "VIEW customer_orders", "to": "GROUP analysts"}
        assert (view.status, view.error, list(view.objects)) == (404, "NotFound", ["views/nothing"])
        assert join.scope == {"service": "churn", "timestamp": "asked_at"}
        assert Flusher(own_shop.backend.runtime).flush() == len(written) + 1
        assert entries(own_shop) == written
        assert remote.verify_audit_log().verified
        found = remote.audit_log(entity={"customer_id": CANARY})
        assert [entry.number for entry in found] == [entry.number for entry in (lookups[5], *lookups[3::-1])]
        assert [entry.status for entry in remote.audit_log("local", action="POST /v1/grants")] == [200]
        assert remote.audit_log(since="2100-01-01") == []
        assert len(remote.audit_log(limit=2)) == 2
        assert remote.verify_audit_log(remote.audit_log_heads()).verified
    for path in (*audit_path(own_shop.settings).iterdir(), *(own_shop.settings.home_path() / "warehouse" / "system").rglob("*")):
        assert not path.is_file() or str(CANARY).encode() not in path.read_bytes(), path
    assert str(CANARY) not in str(own_shop.catalog.load_table("system.audit").scan().to_arrow().to_pylist())


def test_only_administrators_read_the_log(own_shop: FeatureStore) -> None:
    other = own_shop.as_principal("him")
    for call in (other.audit_log, other.audit_log_heads, other.verify_audit_log):
        with pytest.raises(Forbidden):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["on", "fsync"])
def test_what_cannot_be_recorded_is_refused(own_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    usage = shutil.disk_usage("/")
    with audited(own_shop, audit_log=mode) as served:
        assert served.http.get("/v1/views").status_code == 200
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=0))
        while (refused := served.http.post("/v1/grants", json=BODIES["/v1/grants"])).status_code == 200:
            continue
        assert (refused.status_code, refused.json()["error"]["type"]) == (507, "OutOfResources")
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert served.http.get("/healthz").status_code == 200
        monkeypatch.undo()
        while served.http.get("/v1/views").status_code == 507:
            continue
        before = len(entries(own_shop))
        assert served.http.get("/v1/views").status_code == 200
        assert len(entries(own_shop)) == before + 1


def test_a_failing_disk_takes_the_place_of_an_answer(own_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry fails after the work: the answer is not sent."""
    with audited(own_shop) as served:
        assert served.http.get("/v1/views").status_code == 200

        def fail(*arguments: object) -> bool:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("featurestore.audit_log.segment_file.SegmentFile.append", fail)
        refused = served.http.get("/v1/views")
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "NotReady")
        assert "customer_orders" not in refused.text
        monkeypatch.undo()


def test_nothing_is_written_where_it_is_off(own_shop: FeatureStore) -> None:
    with serve(own_shop) as served:
        served.http.get("/v1/views")
    assert not audit_path(own_shop.settings).exists()
    assert own_shop.audit_log() == []
    assert own_shop.verify_audit_log().verified
