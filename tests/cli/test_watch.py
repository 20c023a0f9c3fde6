"""`materialize --watch`: each view at the points of its own grid, after downtime, beside others, through errors, until SIGTERM."""

import json
import signal
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.cli import grid_schedule
from featurestore.cli.grid_schedule import GridSchedule
from featurestore.cli.watch import Watch
from featurestore.errors import NotFound
from featurestore.pipelines.materialization.materialize import StopRun, ViewProgress
from featurestore.records.leases import Leases
from featurestore.records.listings import ViewInfo
from featurestore.values import times
from tests import shop
from tests.cli.running import COMMAND, environment, run

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
VIEWS = {"customer_orders", "customer_profile"}


def view(name: str, every: str | None, through: datetime | None) -> ViewInfo:
    fields: dict[str, Any] = dict.fromkeys(ViewInfo.__dataclass_fields__)
    kind = "row" if every is None else "aggregate"
    return ViewInfo(**{**fields, "name": name, "kind": kind, "every": every, "materialized_through": through})


def test_a_view_is_due_when_its_watermark_is_before_the_last_point_of_its_grid() -> None:
    schedule, now = GridSchedule(times.micros(NOON) % 1 + 3_600_000_000), times.micros(NOON)
    midnight = NOON.replace(hour=0)
    views = [
        view("never", "1d", None),
        view("long ago", "1d", NOON - 30 * DAY),
        view("yesterday", "1d", midnight - timedelta(microseconds=1)),
        view("today", "1d", midnight),
        view("rows", None, NOON - timedelta(seconds=1)),
        view("rows of now", None, NOON),
    ]
    assert schedule.due(views, now) == ["never", "long ago", "yesterday", "rows"]
    following = {name: times.moment(at) for name, at in schedule.next(views, now).items()}
    assert following == {
        **dict.fromkeys(["never", "long ago", "yesterday", "rows"], NOON),
        "today": midnight + DAY,
        "rows of now": NOON + HOUR,
    }


def test_tables_that_are_written_by_key_are_left_alone() -> None:
    written = view("written", None, None)
    object.__setattr__(written, "kind", "written")
    assert GridSchedule(1).due([written], times.now()) == []


def test_pauses_grow_up_to_a_bound_and_end_with_a_success() -> None:
    schedule, views, now = GridSchedule(1), [view("v", "1d", None)], times.micros(NOON)
    pauses = [schedule.pause("v", now) for _ in range(100)]
    assert 0.5 <= pauses[0] <= 1.0
    assert grid_schedule.LONGEST_PAUSE_SECONDS / 2 <= pauses[-1] <= grid_schedule.LONGEST_PAUSE_SECONDS
    assert schedule.due(views, now) == []
    assert schedule.next(views, now)["v"] == now + int(pauses[-1] * 1_000_000)
    schedule.done("v")
    assert schedule.due(views, now) == ["v"]


class Events:
    """What a watch tells; it ends when `enough` says so."""

    def __init__(self, enough: Callable[["Events"], bool]) -> None:
        self._enough, self.all = enough, list[Mapping[str, Any]]()
        self.watch: Watch | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.all.append(event)
        if self.watch is not None and self._enough(self):
            self.watch.end()

    def of(self, event: str) -> list[str]:
        return [each.get("view", "") for each in self.all if each["event"] == event]

    def run(self, store: FeatureStore, *names: str, health: Path | None = None) -> "Events":
        self.watch = Watch(store, names, HOUR, self, health)
        self.watch.run()
        return self


def test_all_that_was_missed_is_one_run_and_then_the_next_point_is_waited_for(
    declared_shop: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still until all are up to date, and then goes on by a day."""
    now = times.micros(shop.NOW)
    declared_shop.materialize(end=shop.NOW - 3 * DAY)
    monkeypatch.setattr(times, "now", lambda: now)
    monkeypatch.setattr(grid_schedule, "FIRST_PAUSE_SECONDS", 0.0)
    health = tmp_path / "health.json"

    def enough(events: Events) -> bool:
        nonlocal now
        if len(events.of("run")) == 2:
            now += 86_400_000_000
        return len(events.of("run")) == 4

    events = Events(enough).run(declared_shop, health=health)
    assert [set(events.of("run")[:2]), set(events.of("run")[2:])] == [VIEWS, VIEWS]
    assert [event["event"] for event in events.all if event["event"] != "run"] == ["watching", "stopped"]
    assert set(events.all[0]["views"]) == VIEWS
    assert [view.materialized_through for view in declared_shop.views()] == [times.moment(now)] * 2
    state = json.loads(health.read_bytes())
    assert (state["state"], state["views"]) == ("ok", dict.fromkeys(sorted(VIEWS), "ok"))
    assert list(health.parent.glob("health*")) == [health]


def test_a_view_of_another_process_and_one_that_fails_do_not_hold_up_the_others(
    declared_shop: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_schedule, "FIRST_PAUSE_SECONDS", 0.01)
    health, sources = tmp_path / "health.json", declared_shop.catalog.load_table("shop.profiles")
    with FeatureStore(settings=declared_shop.settings) as other, Leases(other.backend.runtime, 0) as held:
        held.take("features.customer_orders_v1")
        declared_shop.catalog.rename_table("shop.profiles", "shop.away")
        events = Events(lambda events: len(events.of("held")) > 1 and len(events.of("failed")) > 1).run(declared_shop, health=health)
    assert set(events.of("held")) == {"customer_orders"}
    assert set(events.of("failed")) == {"customer_profile"}
    failed = next(event for event in events.all if event["event"] == "failed")
    assert (failed["type"], "shop.profiles" in failed["message"]) == ("NotFound", True)
    assert json.loads(health.read_bytes())["failing"] == ["customer_profile"]
    declared_shop.catalog.rename_table("shop.away", ".".join(sources.name()))
    again = Events(lambda events: len(events.of("run")) == 2).run(declared_shop)
    assert set(again.of("run")) == VIEWS


def test_a_view_that_was_named_must_exist(declared_shop: FeatureStore) -> None:
    with pytest.raises(NotFound, match="customer_order"):
        Events(lambda events: True).run(declared_shop, "customer_order")


def test_a_run_that_is_stopped_publishes_what_is_done(declared_shop: FeatureStore) -> None:
    def stop(progress: ViewProgress) -> None:
        if (progress.view, progress.stage) == ("customer_profile", "read"):
            raise StopRun

    (done,) = declared_shop.materialize(progress=stop)
    assert (done.view, done.published > 0) == ("customer_orders", True)
    assert [view.materialized_through is None for view in declared_shop.views()] == [False, True]
    (_, rest) = declared_shop.materialize()
    assert rest.rows_appended > 0


@pytest.mark.slow
def test_sigterm_ends_it_with_status_0(declared_shop: FeatureStore, tmp_path: Path) -> None:
    command = [*COMMAND, "materialize", "--watch", "--json", "--home", str(declared_shop.settings.home), "--health", "health.json"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [line["event"] for line in lines] == ["watching", "run", "run"]
        assert {line["view"] for line in lines[1:]} == VIEWS
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert (json.loads(out)["event"], error, process.returncode) == ("stopped", "", 0)
    assert json.loads((tmp_path / "health.json").read_bytes())["state"] == "ok"


def test_wrong_usage(declared_shop: FeatureStore, tmp_path: Path) -> None:
    home = ["--home", str(declared_shop.settings.home), "--watch"]
    for options, message in (
        (["--end", "2026-01-01"], "--watch runs each view up to the present"),
        (["--every", "0s"], "must be a second or more"),
        (["--health", str(tmp_path / "missing" / "health.json")], "there is no folder"),
    ):
        result = run("materialize", *home, *options)
        assert result.exit_code == 2, options
        assert message in result.stderr
    assert run("materialize", *home, "nobody").exit_code == 1
