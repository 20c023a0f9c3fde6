"""A server reports lost tables of its online store, and one process publishes them again."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import tables
from featurestore.online.header import OLD_FORMAT
from featurestore.pipelines.materialization.view_progress import ViewProgress
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import jobs_path
from featurestore.server.online_watch import OnlineWatch
from tests.online.templates import OnlineTemplate
from tests.online.test_incomplete import KEYS, age, fill, punch, values  # noqa: F401 - age and punch are fixtures
from tests.online.test_lost import empty, rows  # noqa: F401 - empty is a fixture
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.waiting import rest

ROWS = [[1, 1], [11, 11], [21, 21], [None, None]]
SECONDS = 60.0
URL = "/v1/services/both/online"


@pytest.fixture
def url(template: OnlineTemplate) -> str:
    return template.url


@pytest.fixture
def store(template: OnlineTemplate) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def look_up(served: Served) -> httpx.Response:
    return served.http.post(URL, json={"entities": KEYS})


def until(look: Callable[[], Any]) -> Any:
    """Look until it is true."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        rest()
    pytest.fail(f"not within {SECONDS} s")


@pytest.mark.parametrize("lose", ["empty", "punch", "age"])
def test_a_probe_names_what_is_lost_until_it_is_filled(store: FeatureStore, lose: str, request: pytest.FixtureRequest) -> None:
    damage: Callable[[], None] = request.getfixturevalue(lose)
    with serve(store) as served:
        assert served.http.get("/readyz").is_success
        assert look_up(served).json()["rows"] == ROWS
        damage()
        details = error_of(served.http.get("/readyz"), 503, "NotReady")["details"]
        assert set(details["lost"]) == {"v_v1", "w_v1"}
        assert details["parts"]["online store"] == "incomplete"
        assert details["serves"] == {
            "lookups": "all but lost tables",
            "training sets": "ok",
            "materializations": "ok",
            "predictions": "all but lost tables",
        }
        assert error_of(look_up(served), 503, "NotReady")["details"]["table"] == "v_v1"
        assert store.backend.fill_online() == ["v_v1", "w_v1"]
        assert served.http.get("/readyz").is_success
        assert look_up(served).json()["rows"] == ROWS
        assert store.backend.fill_online() == []


@pytest.mark.slow
def test_a_server_fills_what_is_lost_by_itself(store: FeatureStore, empty: Callable[[], None], punch: Callable[[], None]) -> None:  # noqa: F811
    with serve(store, jobs=True) as served:
        assert look_up(served).json()["rows"] == ROWS
        for lose in (empty, punch):
            lose()
            answers = []

            def answered() -> bool:
                answers.append(look_up(served))  # noqa: B023 - called in this round
                return served.http.get("/readyz").is_success and look_up(served).is_success

            until(lambda: served.http.get("/readyz").status_code == 503)
            until(answered)
            assert look_up(served).json()["rows"] == ROWS
            assert {answer.status_code for answer in answers} <= {200, 503}


def test_one_process_at_a_time_fills_and_shows_how_far_it_is(store: FeatureStore, empty: Callable[[], None]) -> None:  # noqa: F811
    with serve(store) as served, FeatureStore(settings=store.settings) as other:
        empty()
        online = other.backend.runtime.online
        with online.claim_filling() as show:
            assert show is not None
            show(b'{"view": "v", "rows": 1, "of": 3}')
            assert store.backend.fill_online() is None
            details = error_of(served.http.get("/readyz"), 503, "NotReady")["details"]
            assert details["parts"]["online store"] == "being filled"
            assert details["filling"] == {"view": "v", "rows": 1, "of": 3}
        assert online.filling() is None
        assert store.backend.fill_online() == ["v_v1", "w_v1"]


def test_a_server_fills_nothing_where_the_setting_says_so(store: FeatureStore, tmp_path: Path, url: str, empty: Callable[[], None]) -> None:  # noqa: F811
    empty()
    for may_fill in (False, True):
        settings = Settings(home=store.settings.home, online=url, online_fill=may_fill)
        jobs = Jobs(jobs_path(settings))
        with FeatureStore(settings=settings) as watched:
            OnlineWatch(watched, jobs).look()
            assert (jobs.get("filling") is not None) == may_fill
            with pytest.raises(NotReady, match="v_v1"):
                values(watched)
        jobs.close()


def test_a_store_of_an_earlier_version_that_no_table_names_is_filled(store: FeatureStore, age: Callable[[], None]) -> None:  # noqa: F811
    for name in ("v_v1", "w_v1"):
        with store.catalog.load_table(f"features.{name}").transaction() as transaction:
            transaction.remove_properties("featurestore.online-stores")
    age()
    with FeatureStore(settings=store.settings) as other:
        assert other.backend.lost_tables.find() == dict.fromkeys(("v_v1", "w_v1"), OLD_FORMAT)
        with pytest.raises(NotReady, match="v_v1"):
            values(other)
        assert other.backend.fill_online() == ["v_v1", "w_v1"]
        assert [list(row) for row in values(other)] == ROWS


def test_first_rows_that_are_on_their_way_are_not_filled(store: FeatureStore) -> None:
    """The run that commits a new table publishes it at its end, together with the others of the run."""
    store.backend.runtime.online.drop("v_v1")
    assert set(store.backend.lost_tables.find()) == {"v_v1"}
    table = store.catalog.load_table("features.v_v1")
    with table.transaction() as transaction:
        transaction.remove_properties("featurestore.online-stores")
    assert store.backend.lost_tables.find() == {}
    assert store.check()["online store"] is None


class Interrupted(Exception):
    pass


def run_until(store: FeatureStore, view: str) -> None:
    """A run that has appended to the views before this one, and is not published."""

    def stop(progress: ViewProgress) -> None:
        if progress.view == view:
            raise Interrupted

    with pytest.raises(Interrupted):
        store.materialize(progress=stop)


def answers(store: FeatureStore) -> list[list[Any]]:
    return [list(row) for row in store.online_features("both", KEYS).rows]


def test_a_run_that_goes_on_is_not_shown_in_parts(store: FeatureStore, empty: Callable[[], None]) -> None:  # noqa: F811
    store.catalog.load_table("raw.s").append(rows(0, 1, 2, day=2))
    run_until(store, "w")
    assert answers(store) == ROWS
    empty()
    assert store.backend.fill_online() == ["v_v1", "w_v1"]
    # The table of v has new rows already.
    assert answers(store) == ROWS
    assert [run.published for run in store.materialize()] == [3, 3]
    new = [[2, 2], [12, 12], [22, 22], [None, None]]
    assert answers(store) == new
    empty()
    assert store.backend.fill_online() == ["v_v1", "w_v1"]
    assert answers(store) == new


def test_a_view_that_was_published_alone_is_filled_as_it_was(store: FeatureStore, empty: Callable[[], None]) -> None:  # noqa: F811
    store.catalog.load_table("raw.s").append(rows(0, 1, 2, day=2))
    store.materialize("v")
    mixed = [[2, 1], [12, 11], [22, 21], [None, None]]
    assert answers(store) == mixed
    empty()
    store.backend.fill_online()
    assert answers(store) == mixed


def test_an_edition_whose_snapshot_has_expired_is_filled_with_the_current_one(store: FeatureStore, empty: Callable[[], None]) -> None:  # noqa: F811
    store.catalog.load_table("raw.s").append(rows(0, 1, 2, day=2))
    run_until(store, "w")
    empty()
    store.maintain(older_than=timedelta(0))
    store.backend.fill_online()
    assert [row[0] for row in answers(store)] == [2, 12, 22, None]
    store.materialize()
    assert answers(store)[0] == [2, 2]


def test_a_catalog_that_takes_no_edition_delays_no_publish(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise CommitConflict("others write all the time")

    store.catalog.load_table("raw.s").append(rows(0, 1, 2, day=2))
    monkeypatch.setattr(tables, "properties_transaction", refuse)
    store.materialize()
    assert answers(store)[0] == [2, 2]
    assert "an edition of v_v1, w_v1 was not recorded" in caplog.text
