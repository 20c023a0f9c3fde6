"""An online store that is emptied, lost or published by others: the next run fills it, and lookups do not return NOT_FOUND until then."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import redis

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import CommitConflict, NotFound, NotReady
from featurestore.online.store import Cursor
from featurestore.pipelines.materialization import edition
from featurestore.pipelines.materialization.edition import Publication
from tests.online.templates import OnlineTemplate
from tests.pipelines.materialization.overtaken import lose_lease
from tests.server.conftest import serve
from tests.server.test_errors import error_of
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = [{"k": number} for number in range(4)]


def rows(*keys: int, day: int = 1) -> pa.Table:
    columns = {"k": pa.array(keys, pa.int64()), "at": pa.array([T + timedelta(days=day)] * len(keys), STAMP)}
    return pa.table({**columns, "x": pa.array([10 * key + day for key in keys], pa.int64())})


def fill(store: FeatureStore) -> None:
    load_source(store, "raw.s", rows(0, 1, 2))
    source = Source("s", table="raw.s", timestamp="at")
    entity = Entity("e", keys="k")
    views = [FeatureView(name, entity=entity, source=source, features=["x"]) for name in ("v", "w")]
    store.apply([FeatureService(f"of_{view.name}", features=[view]) for view in views])
    store.materialize("v")


@pytest.fixture
def url(template: OnlineTemplate) -> str:
    return template.url


@pytest.fixture
def store(template: OnlineTemplate) -> Iterator[FeatureStore]:
    """A view with rows of three keys online, and another one that was never materialized."""
    with template.opened() as store:
        yield store


@pytest.fixture
def empty(url: str) -> Callable[[], None]:
    """Loses all that the online store holds, under everybody who has it open."""

    def lose() -> None:
        if url.startswith("lmdb:"):
            shutil.rmtree(url.removeprefix("lmdb://"))
            return
        address, _, prefix = url.partition("?prefix=")
        with redis.Redis.from_url(address) as client:
            client.delete(*client.scan_iter(f"{prefix}*", count=10_000))

    return lose


def online_values(store: FeatureStore) -> list[int | None]:
    return [row[0] for row in store.online_features("of_v", KEYS).rows]


def test_what_was_lost_is_no_answer_and_is_filled_again(store: FeatureStore, empty: Callable[[], None]) -> None:
    assert online_values(store) == [1, 11, 21, None]
    assert store.online_features("of_w", KEYS).status == {"w": ("NOT_FOUND",) * 4}
    empty()
    for _ in range(2):
        with pytest.raises(NotReady, match="v_v1, which is materialized") as caught:
            online_values(store)
        assert caught.value.details["table"] == "v_v1"
        assert store.online_features("of_w", KEYS).status == {"w": ("NOT_FOUND",) * 4}
    assert [run.published for run in store.materialize("v")] == [3]
    assert online_values(store) == [1, 11, 21, None]
    store.materialize("w")
    assert store.online_features("of_w", KEYS).status == {"w": ("PRESENT",) * 3 + ("NOT_FOUND",)}


def test_what_is_emptied_between_look_and_write_is_filled_as_a_whole(
    store: FeatureStore, empty: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.catalog.load_table("raw.s").append(rows(3, day=2))
    online, looks = store._runtime.online, list[Cursor | None]()
    look = online.cursor

    def emptied(table: str) -> Cursor | None:
        cursor = look(table)
        if not looks:
            empty()
        looks.append(cursor)
        return cursor

    monkeypatch.setattr(online, "cursor", emptied)
    store.materialize("v")
    assert len(looks) > 1
    assert online_values(store) == [1, 11, 21, 32]
    assert [run.published for run in store.materialize("v")] == [0]


def test_a_publish_by_hand_fills_what_was_lost_and_with_full_what_has_holes(store: FeatureStore, empty: Callable[[], None]) -> None:
    assert rows_of(store.publish()) == {"v_v1": 0, "w_v1": 0}
    empty()
    assert rows_of(store.publish("v")) == {"v_v1": 3}
    assert online_values(store) == [1, 11, 21, None]
    assert store._runtime.online.cursor("w_v1") is None, "a table without a run is no table without rows"
    online = store._runtime.online
    cursor = online.cursor("v_v1")
    assert cursor is not None
    lost = pa.table({"k": pa.array([1], pa.int64())})
    none = rows(0).slice(0, 0).rename_columns(["k", "feature_timestamp", "x"]).add_column(2, "created_timestamp", pa.array([], STAMP))
    online.publish("v_v1", none, keys=["k"], cursor=cursor, removed=lost)
    assert online_values(store) == [1, None, 21, None]
    assert rows_of(store.publish()) == {"v_v1": 0, "w_v1": 0}
    assert online_values(store) == [1, None, 21, None]
    assert rows_of(store.publish(["v", "w"], full=True)) == {"v_v1": 3, "w_v1": 0}
    assert online_values(store) == [1, 11, 21, None]
    assert online.cursor("v_v1") == cursor
    with pytest.raises(NotFound, match="did you mean 'v'"):
        store.publish("vv")


def rows_of(done: list[Publication]) -> dict[str, int]:
    return {publication.table: publication.rows for publication in done}


def test_of_two_publishers_the_one_that_looked_first_does_not_set_back_the_other(
    store: FeatureStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replacement by an older snapshot, too, which would bring back what the newer one had no more."""
    online = store._runtime.online
    look = online.cursor
    with FeatureStore(settings=store.settings) as other:

        def overtaken(table: str) -> Cursor | None:
            cursor = look(table)
            monkeypatch.undo()
            other.catalog.load_table("raw.s").append(rows(3, day=3))
            lose_lease(other, "features.v_v1")
            other.materialize("v")
            return cursor

        monkeypatch.setattr(online, "cursor", overtaken)
        store.materialize("v")
        assert online_values(store) == online_values(other) == [1, 11, 21, 33]


def test_what_another_run_published_since_a_run_committed_is_not_set_back(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run publishes the table as its commit left it, unless the online store is beyond that."""
    online = store._runtime.online
    look = online.cursor
    store.catalog.load_table("raw.s").append(rows(3, day=2))
    with FeatureStore(settings=store.settings) as other:

        def overtaken(table: str) -> Cursor | None:
            monkeypatch.undo()
            other.catalog.load_table("raw.s").append(rows(0, day=3))
            lose_lease(other, "features.v_v1")
            other.materialize("v")
            return look(table)

        monkeypatch.setattr(online, "cursor", overtaken)
        (done,) = store.materialize("v")
        assert (done.rows_appended, done.published) == (1, 0)
        assert online_values(store) == online_values(other) == [3, 11, 21, 32]


def test_who_is_overtaken_all_the_time_is_told(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    online = store._runtime.online
    monkeypatch.setattr(online, "cursor", lambda table: Cursor(7, 7))
    applied = next(iter(store.views()))
    with pytest.raises(CommitConflict, match="'v_v1' in the online store was changed or lost during the publish"):
        store.materialize("v")
    assert applied["name"] == "v"
    monkeypatch.undo()
    assert edition.ATTEMPTS > 1
    assert online_values(store) == [1, 11, 21, None]


@pytest.mark.slow
def test_a_server_says_which_table_is_lost(store: FeatureStore, empty: Callable[[], None]) -> None:
    with serve(store) as served:
        body = {"entities": KEYS}
        assert served.http.post("/v1/services/of_v/online", json=body).is_success
        empty()
        for _ in range(2):
            error = error_of(served.http.post("/v1/services/of_v/online", json=body), 503, "NotReady")
            assert error["details"]["table"] == "v_v1"
        store.materialize("v")
        assert served.http.post("/v1/services/of_v/online", json=body).json()["rows"] == [[1], [11], [21], [None]]
