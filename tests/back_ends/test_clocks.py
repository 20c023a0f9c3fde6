"""Clocks that are minutes apart: rows are stamped by the catalog's clock, and corrections win whatever clocks say."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import NotReady
from featurestore.values import times
from tests.faults import life
from tests.faults.wires import wire

MINUTES = 7 * 60 * 1_000_000
NOW = times.now


@contextmanager
def clock(monkeypatch: pytest.MonkeyPatch, ahead_us: int) -> Iterator[None]:
    """The clock of this machine is ahead of all others."""
    with monkeypatch.context() as changed:
        changed.setattr(times, "now", lambda: NOW() + ahead_us)
        yield


def created(store: FeatureStore) -> list[datetime]:
    rows: pa.Table = store.catalog.load_table("features.last_v1").scan().to_arrow()
    return sorted(set(rows["created_timestamp"].to_pylist()))


@pytest.mark.slow
@pytest.mark.parametrize("ahead_us", [MINUTES, -MINUTES], ids=["ahead", "behind"])
@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_rows_are_stamped_by_the_clock_of_the_catalog(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, ahead_us: int
) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as reached, FeatureStore(settings=reached.settings(tmp_path / "home")) as store:
        life.begin(store)
        store.apply(life.declare())
        before = NOW()
        with clock(monkeypatch, ahead_us):
            store.materialize("last", end="2026-01-05")
        (stamp,) = created(store)
        assert before - 3_000_000 <= times.micros(stamp) <= NOW() + 3_000_000


def test_stamps_never_go_back_and_a_clock_that_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two machines on one folder, whose clocks are apart."""
    settings = Settings(home=tmp_path / "home")
    with FeatureStore(settings=settings) as ahead, FeatureStore(settings=settings) as behind:
        life.begin(ahead)
        ahead.apply(life.declare())
        with clock(monkeypatch, MINUTES):
            ahead.materialize("last", end="2026-01-03")
        (first,) = created(ahead)
        behind.materialize("last", end="2026-01-05")
        assert created(behind) == [first, first + timedelta(microseconds=1)]
        assert ahead.materialize("last", end="2026-01-05")[0].rows_appended == 0
        with (
            clock(monkeypatch, -2 * MINUTES),
            pytest.raises(NotReady, match=r"ahead of the time here, .* nothing was written. Set the clock"),
        ):
            behind.materialize("last")
        with clock(monkeypatch, -2 * MINUTES):
            assert behind.materialize("last", end="2026-01-05")[0].rows_appended == 0, "what has nothing to write is not refused"
        with clock(monkeypatch, 2 * MINUTES):
            ahead.materialize("last")
        assert created(ahead)[-1] > first + timedelta(microseconds=1)


def test_a_correction_wins_although_the_clock_went_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder has no clock but those of its machines."""
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as store:
        life.begin(store)
        store.apply(life.declare())
        with clock(monkeypatch, MINUTES):
            store.materialize("last", end="2026-01-05")
        first: Any = life.events(0, 1).to_pylist()[0]
        corrected = pa.Table.from_pylist([{**first, "x": 99.0}], life.SCHEMA)
        store.catalog.load_table("raw.s").overwrite(pa.concat_tables([corrected, life.events(1, 60)]))
        (run,) = store.materialize("last", end="2026-01-05")
        assert run.corrections == 1
        spine = pa.table({"k": [0], "t": pa.array([life.T + life.HOUR], pa.timestamp("us", tz="UTC"))})
        assert store.training_set("service", spine, "t").to_arrow()["x"].to_pylist() == [99.0]
        assert [run.rows_appended for run in store.materialize("last", end="2026-01-05")] == [0]
        early, late = created(store)
        assert late > early > datetime.now(UTC) + timedelta(minutes=5)
