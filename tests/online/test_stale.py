"""A view that is not materialized for longer than it allows is stale, which lookups, probes of models and training sets say in one word."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, connect
from featurestore.errors import DefinitionError, NotReady
from featurestore.pipelines.online_lookup.lookup import lookup
from featurestore.values import times
from tests.online.templates import Fill, OnlineTemplate
from tests.server.conftest import serve
from tests.server.test_errors import error_of
from tests.worlds import STAMP, load_source

NOW = datetime.now(UTC)
ROWS = pa.table(
    {"k": pa.array([0, 1], pa.int64()), "at": pa.array([NOW - timedelta(days=9)] * 2, STAMP), "x": pa.array([10, 11], pa.int64())}
)
KEYS = [{"k": 0}, {"k": 5}]
HOUR = 3_600_000_000
MODES = ("value", "null", "error")


def services(stale_after: str | None = "2h") -> list[FeatureService]:
    """A service for each mode, and one without."""
    source, entity = Source("s", table="raw.s", timestamp="at"), Entity("e", keys="k")
    made = [FeatureService("plain", features=[FeatureView("plain", entity=entity, source=source, features=["x"])])]
    for mode in MODES:
        stale = {} if stale_after is None else {"stale_after": stale_after, "stale": mode}
        view = FeatureView(f"v_{mode}", entity=entity, source=source, features=["x"], **stale)  # type: ignore[arg-type]
        made.append(FeatureService(mode, features=[view]))
    return made


def fill(store: FeatureStore) -> None:
    load_source(store, "raw.s", ROWS)
    store.apply(services())
    store.materialize(end=NOW - timedelta(hours=3))


@pytest.fixture
def store(templates: Callable[[str, Fill], OnlineTemplate]) -> Iterator[FeatureStore]:
    with templates("lmdb", fill).opened() as store:
        yield store


def test_a_stale_view_gives_what_it_says(store: FeatureStore) -> None:
    assert store.online_features("plain", KEYS).status == {"plain": ("PRESENT", "NOT_FOUND")}
    with_value, with_null = store.online_features("value", KEYS), store.online_features("null", KEYS)
    assert (with_value.rows, with_value.status) == (((10,), (None,)), {"v_value": ("STALE", "NOT_FOUND")})
    assert (with_null.rows, with_null.status) == (((None,), (None,)), {"v_null": ("STALE", "NOT_FOUND")})
    with pytest.raises(NotReady, match=r"view v_error is stale: it is materialized through .* ago.* featurestore materialize") as caught:
        store.online_features("error", KEYS)
    assert {**caught.value.details, "watermark": None} == {"view": "v_error", "table": "v_error_v1", "watermark": None, "status": "STALE"}
    store.materialize()
    assert [store.online_features(mode, KEYS).status[f"v_{mode}"] for mode in MODES] == [("PRESENT", "NOT_FOUND")] * 3


def test_the_age_is_that_of_the_watermark_to_the_microsecond(store: FeatureStore) -> None:
    backend = store.backend
    plan, policies = backend.service_plan("value"), backend.services.policies
    through = times.micros(NOW - timedelta(hours=3))
    for late, status in ((0, "PRESENT"), (1, "STALE")):
        features = lookup(backend.runtime, plan, KEYS, None, store._online_tables, through + 2 * HOUR + late, policies)
        assert features.status == {"v_value": (status, "NOT_FOUND")}


def test_a_change_of_it_makes_no_version_and_is_served_at_once(store: FeatureStore) -> None:
    before = store.view("v_value")
    for stale_after, status in (("4h", "PRESENT"), ("1h", "STALE"), (None, "PRESENT")):
        plan = store.apply(services(stale_after))
        assert {step.version for step in plan.steps if step.kind == "view"} == {1}
        assert store.online_features("value", KEYS).status["v_value"][0] == status
    after = store.view("v_value")
    assert (after.version, after.fingerprint, after.snapshot_id) == (before.version, before.fingerprint, before.snapshot_id)


def test_a_server_says_the_same(store: FeatureStore) -> None:
    with serve(store) as served, connect(str(served.http.base_url)) as remote:
        for _ in range(3):
            assert remote.online_features("value", KEYS).status == {"v_value": ("STALE", "NOT_FOUND")}
            assert remote.online_features("null", KEYS).rows == ((None,), (None,))
            body = error_of(served.http.post("/v1/services/error/online", json={"entities": KEYS}), 503, "NotReady")
            assert body["details"]["status"] == "STALE"
        text = served.http.get("/metrics").text
        assert 'featurestore_online_rows_total{service="value",status="STALE",view="v_value"} 3.0' in text
        remote.apply(services("5h"))
        assert remote.online_features("value", KEYS).status == {"v_value": ("PRESENT", "NOT_FOUND")}


def test_a_fresh_view_becomes_stale_without_a_publish(tmp_path: Path) -> None:
    """The answers in front of the framework end where the view becomes stale."""
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        load_source(store, "raw.s", ROWS)
        store.apply(services("1s"))
        store.materialize()
        with serve(store) as served:
            seen = set()
            while "STALE" not in seen:
                answer = served.http.post("/v1/services/value/online", json={"entities": KEYS}).json()
                seen.add(answer["status"]["v_value"][0])
                assert answer["rows"] == [[10], [None]]
            assert seen <= {"PRESENT", "STALE"}


def test_a_training_set_warns_of_times_at_which_lookups_would_be_stale(store: FeatureStore) -> None:
    spine = pa.table({"k": pa.array([0], pa.int64()), "seen": pa.array([NOW - timedelta(minutes=30)], STAMP)})
    warnings = store.training_set("value", spine, timestamp="seen", name="late").manifest["warnings"]
    assert [warning for warning in warnings if "view v_value is STALE for rows after" in warning]
    early = spine.set_column(1, "seen", pa.array([NOW - timedelta(hours=2)], STAMP))
    assert not [
        warning for warning in store.training_set("value", early, timestamp="seen", name="early").manifest["warnings"] if "STALE" in warning
    ]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"stale_after": "2h", "stale": "nul"}, "must be one of 'value', 'null', 'error'.*did you mean 'null'"),
        ({"stale_after": "0s"}, "longer than zero"),
        ({"stale_after": "soon"}, "soon"),
        ({"stale": "null"}, "no effect without stale_after"),
    ],
)
def test_what_makes_no_sense_is_refused(store: FeatureStore, arguments: dict[str, str], words: str) -> None:
    view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", table="raw.s", timestamp="at"), features=["x"], **arguments)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=words):
        store.plan([FeatureService("of", features=[view])])
