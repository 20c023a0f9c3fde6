"""The pipelines run on any engine: they use only the methods of the protocol."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from featurestore import FeatureStore
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.view import FeatureView
from featurestore.engine.duck import DuckEngine
from featurestore.engine.session import Engine
from featurestore.pipelines.materialization.edition import EditionPublisher
from featurestore.pipelines.materialization.materialize import Materialization, materialize_view
from featurestore.pipelines.planning.derived_types import derived_type_problems
from featurestore.records import definitions, stored_definition
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values import times
from tests import shop
from tests.engine.recording import CannedEngine, RecordingEngine, Sent


@pytest.fixture
def engine(own_shop: FeatureStore) -> Iterator[RecordingEngine]:
    recording = RecordingEngine(DuckEngine(own_shop.settings))
    yield recording
    recording.close()


def materialize(store: FeatureStore, engine: Engine, view: FeatureView) -> Materialization:
    runtime = Runtime(store.settings, engine)
    applied = definitions.read_registry(runtime).get("view", view.name)
    checked = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
    with EditionPublisher(runtime) as publisher, Leases(runtime, 0) as leases:
        done = materialize_view(runtime, leases, publisher, applied, checked, None, None, lambda progress: None)
        assert not publisher.commit().errors
    return done


def methods(sent: list[Sent]) -> list[str]:
    return [call.method for call in sent]


def test_a_run_and_its_publish_share_one_session(own_shop: FeatureStore, engine: RecordingEngine) -> None:
    shop.add(own_shop, "shop.profiles", shop.profile_rows().slice(0, 1))
    done = materialize(own_shop, engine, shop.customer_profile)
    assert done.rows_appended == 0
    (sent,) = map(methods, engine.sent)
    cleared = sent.index("clear")
    assert "write" in sent[:cleared]
    # The publish looks for keys with several rows, and then reads the newest.
    assert sent[cleared:] == ["clear", "add", "batches", "batches"]


def test_a_run_reads_its_source_within_its_interval(own_shop: FeatureStore, engine: RecordingEngine) -> None:
    shop.add(own_shop, "shop.orders", shop.order_rows())
    done = materialize(own_shop, engine, shop.customer_orders)
    assert done.rows_appended > 0
    (sent,) = engine.sent
    (tiles, *_) = [call for call in sent if (call.method, call.name) == ("create_table", "__fs_tiles")]
    bounds = re.search(r"BETWEEN make_timestamptz\(CAST\((-?\d+) AS BIGINT\)\) AND make_timestamptz\(CAST\((\d+) AS BIGINT\)\)", tiles.sql)
    assert bounds is not None
    lower, upper = map(int, bounds.groups())
    assert done.start is not None
    assert done.end is not None
    assert times.moment(lower) == done.start - timedelta(days=31), "the longest window and a step of the grid"
    assert done.start <= times.moment(upper) <= done.end
    assert not [call for call in sent if "getvariable" in call.sql], "a bound that no query was given"


def test_types_of_derived_features_are_asked_of_the_engine() -> None:
    asked: list[str] = []

    def answer(sql: str) -> dict[str, str]:
        asked.append(sql)
        return {"v": "INTERVAL"}

    plan = ServicePlan("s", 1, "", (), (("basket", "DOUBLE"),), (("twice", "basket * 2"),))
    engine = CannedEngine(answer)
    assert [problem.field for problem in derived_type_problems(Runtime(Settings(), engine), plan)] == ["derived.twice"]
    (sql,) = asked
    assert '"basket" * 2' in sql
