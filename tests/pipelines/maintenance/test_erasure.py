"""An entity's key is erased from every byte that the store keeps, and everything else stays as it was."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFileContent

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg, check
from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.lakehouse import history_rewrite, scans, tables
from featurestore.lakehouse.table import Table
from featurestore.models.prediction_log.spool import Spool
from featurestore.pipelines.maintenance import erasure, erasure_spool, maintain
from featurestore.server.jobs.job import State
from featurestore.server.jobs.job_store import JobStore
from tests.granting import grant
from tests.lakehouse.deletes import delete_rows
from tests.worlds import STAMP, Template, load_source

pytestmark = pytest.mark.slow

CANARY = "CANARY-7f3a"
DAY = 86_400_000_000
customer = Entity("customer", keys="customer")
pair = Entity("pair", keys=["customer", "shop"])
ORDERS = Source("orders", table="shop.orders", timestamp="at")
notes = FeatureView("notes", entity=customer, source=ORDERS, features=["x", "note"])
counts = FeatureView("counts", entity=customer, source=ORDERS, every="1d", features={"n": agg.count(over="7d")})
pairs = FeatureView("pairs", entity=pair, source=ORDERS, features={"twice": "x * 2"})
service = FeatureService("s", features=[notes, counts, pairs], request={"b": "double"}, derived={"d": "b + n_7d"})
FEATURES = ("features.notes_v1", "features.counts_v1", "features.pairs_v1")
SETS = ("training_sets.one", "training_sets.two")


class Killed(BaseException):
    """The process is gone."""


def name_of(number: int) -> str:
    return CANARY if number % 7 == 3 else f"person-{number % 50:04d}"


def rows(count: int, day: int) -> pa.Table:
    names = [name_of(number) for number in range(count)]
    return pa.table(
        {
            "customer": names,
            "shop": pa.array([number % 3 for number in range(count)], pa.int64()),
            "at": pa.array([day * DAY + number for number in range(count)], STAMP),
            "x": [float(number) for number in range(count)],
            "note": [f"note of {name}" for name in names],
        }
    )


def spine() -> list[dict[str, Any]]:
    return [
        {"customer": name_of(number), "shop": number % 3, "t": f"2026-01-0{1 + number % 3}", "b": 1.0, "y": number} for number in range(40)
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "shop.orders", rows(300, 20_000))
        store.apply([service])
        store.materialize()
        store.tag("before", list(FEATURES))
        store.training_set("s", spine(), "t", "y", name="one", split={"train": 0.5, "test": 0.5}, by="y")
        store.catalog.load_table("shop.orders").append(rows(100, 20_100))
        store.materialize()
        store.training_set("s", spine(), "t", "y", name="two")

    return Template(tmp_path_factory.mktemp("erasure"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def files_with(store: FeatureStore, text: str = CANARY) -> list[str]:
    """The files of the home folder with this text, but those of source tables."""
    home = Path(store.settings.home)
    found = (path.relative_to(home) for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes())
    return sorted(str(path) for path in found if "shop" not in path.parts)


def contents(store: FeatureStore) -> dict[tuple[str, int], pa.Table]:
    """The rows of every snapshot, in order, without those of the key."""
    found = {}
    for name in (*FEATURES, *SETS):
        table = tables.load(store.catalog, name)
        for snapshot in table.snapshot_ids:
            stored = scans.read_snapshot(grant(table), snapshot).read_all()
            order = [(column, "ascending") for column in stored.schema.names if column in ("__fs_row", "feature_timestamp", "x", "shop")]
            found[name, snapshot] = stored.filter(pc.not_equal(stored["customer"], CANARY)).sort_by(order).combine_chunks()
    return found


def test_every_byte_of_the_key_is_erased_and_nothing_else(store: FeatureStore) -> None:
    before, digests = contents(store), {built.id: built.digest for built in store.training_sets()}
    assert len(files_with(store)) >= 7
    planned = store.erase("customer", CANARY, dry_run=True)
    assert (planned.number, planned.finished, planned.complete) == (None, False, False)
    assert len(files_with(store)) >= 7
    erased = store.erase("customer", CANARY, by="ann")
    assert files_with(store) == []
    assert erased.tables == planned.tables
    assert {table.table: table.rows for table in erased.tables} == {
        "features.notes_v1": 57,
        "features.counts_v1": 4,
        "features.pairs_v1": 57,
        "training_sets.one": 6,
        "training_sets.two": 6,
        "registry.statistics": 12,
    }
    assert (erased.number, erased.by, erased.finished) == (1, "ann", True)
    assert erased.online == ("notes_v1", "counts_v1", "pairs_v1")
    # The source would bring it back.
    assert erased.remaining == ("shop.orders: 57 rows of a source table, which is not the store's; delete them there",)
    assert not erased.complete
    after = contents(store)
    assert before.keys() == after.keys()
    for place, kept in before.items():
        assert after[place].equals(kept), place
    for one in erased.training_sets:
        assert (one.rows, one.digest_before) == (6, digests[one.id])
        rebuilt = store.rebuild(one.id)
        assert rebuilt.digest == one.digest != one.digest_before
        assert rebuilt.had_digest(one.digest_before)
        assert (rebuilt.manifest["rows"], rebuilt.statistics["rows"], rebuilt.to_arrow().num_rows) == (34, 34, 34)
        assert rebuilt.manifest["erasures"] == [{"number": 1, "digest": one.digest_before, "rows": 6}]
    split = store.get_training_set(next(id for id in digests if id.startswith("one"))).manifest["split"]
    assert sum(split["rows"].values()) == 34
    assert store.point_in_time("s", spine()[:8], "t", snapshots="@before").column("x").null_count == 1
    assert CANARY not in str(store.erasures())


def test_the_online_store_forgets_it(store: FeatureStore) -> None:
    entities = [{"customer": CANARY, "shop": 0}, {"customer": "person-0001", "shop": 1}]
    asked = [{"b": 1.0}] * 2
    before = store.online_features("s", entities, asked).to_dict()["rows"]
    assert before[0][1] == f"note of {CANARY}"
    store.erase("customer", CANARY)
    after = store.online_features("s", entities, asked).to_dict()["rows"]
    assert after == [[None, None, None, None, None], before[1]]
    assert all((compared.missing, compared.changed, compared.extra) == (0, 0, 0) for compared in store.verify_online())


def test_the_store_goes_on(store: FeatureStore) -> None:
    store.erase("customer", CANARY)
    store.catalog.load_table("shop.orders").delete(f"customer == '{CANARY}'")
    load = rows(10, 20_200).filter(pc.not_equal(rows(10, 20_200)["customer"], CANARY))
    store.catalog.load_table("shop.orders").append(load)
    assert {run.view: run.rows_appended for run in store.materialize()}["notes"] == load.num_rows
    assert store.maintain(older_than=timedelta(0))
    again = store.erase("customer", CANARY)
    assert (again.number, again.tables, again.training_sets, again.remaining, again.complete) == (2, (), (), (), True)
    assert [one.number for one in store.erasures()] == [2, 1]
    assert files_with(store) == []
    assert all(run.rows_appended == 0 for run in store.materialize())
    with FeatureStore(home=store.settings.home) as reopened:
        assert reopened.training_sets() == store.training_sets()


def test_outcomes_of_checks_and_jobs_forget_it_too(store: FeatureStore) -> None:
    store.apply([replace(notes, checks=[check.that(f"customer <> '{CANARY[:6]}' || '{CANARY[6:]}'", severity="warn")])])
    store.catalog.load_table("shop.orders").append(rows(10, 20_200))
    (run,) = store.materialize("notes")
    assert f"e.g. customer={CANARY}" in run.checks[0].message
    jobs = JobStore(Path(store.settings.home) / "jobs")
    states: dict[str, State] = {"ended": "failed", "other": "failed", "live": "running"}
    for id, state in states.items():
        name = "somebody" if id == "other" else CANARY
        job, _ = jobs.add(id, "verification", {}, lambda folder: None)
        jobs.write(replace(job, state=state, result=[{"key": {"customer": name}}], error={"message": f"e.g. customer={name} at noon"}))
    planned = [place for place in store.erase("customer", CANARY, dry_run=True).remaining if "the record of a job" in place]
    assert [place.split("/")[-2] for place in planned] == ["ended", "live"]
    erased = store.erase("customer", CANARY)
    assert [place.split("/")[-2] for place in erased.remaining if "the record of a job" in place] == ["live"]
    assert files_with(store) == ["jobs/live/job.json"]
    assert jobs.get("other") is not None


def test_the_spool_of_predictions_forgets_it_while_a_server_has_it_open(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    spool = Spool(tmp_path / erasure_spool.SPOOL, 64 << 20)

    def bytes_left() -> list[str]:
        return [path.name for path in (tmp_path / "predictions").iterdir() if CANARY.encode() in path.read_bytes()]

    for _ in range(50):
        spool.put("inference.s", 1, 2, CANARY.encode() * 100)
    waiting = erasure_spool.waiting_rows(tmp_path)
    (remains,) = erasure_spool.erase_spool(tmp_path, waiting, dry_run=False)
    assert "100 rows of predictions, which wait to be logged" in remains
    spool.remove("inference.s", 50)
    assert bytes_left(), "SQLite keeps what was removed"
    assert list(erasure_spool.erase_spool(tmp_path, erasure_spool.waiting_rows(tmp_path), dry_run=True)) == []
    assert bytes_left()
    assert list(erasure_spool.erase_spool(tmp_path, erasure_spool.waiting_rows(tmp_path), dry_run=False)) == []
    assert bytes_left() == []
    spool.put("inference.s", 1, 2, b"next")
    assert erasure_spool.waiting_rows(tmp_path) == 2
    spool.close()
    (tmp_path / erasure_spool.SPOOL).write_bytes(b"damaged" * 100)
    (tmp_path / "predictions" / "spool.db.damaged-1").touch()
    remaining = list(erasure_spool.erase_spool(tmp_path, erasure_spool.waiting_rows(tmp_path), dry_run=False))
    assert [place.partition(":")[0] for place in remaining] == ["predictions/spool.db.damaged-1", erasure_spool.SPOOL]


def test_sets_of_several_schemas_in_one_table(store: FeatureStore) -> None:
    wide = [{**row, "extra": f"extra of {row['customer']}", "z": 1} for row in spine()]
    ids = [store.training_set("s", rows, "t", name="one").id for rows in (wide, [{**row, "other": 2.5} for row in spine()])]
    assert len(files_with(store, f"extra of {CANARY}")) == 1
    store.erase("customer", CANARY)
    assert files_with(store) == []
    for id in ids:
        assert store.rebuild(id).to_arrow().num_rows == 34
    assert set(store.get_training_set(ids[0]).to_arrow()["extra"].to_pylist()[:2]) == {"extra of person-0000", "extra of person-0001"}


def test_a_composite_key(store: FeatureStore) -> None:
    erased = store.erase("pair", {"customer": CANARY, "shop": "1"})
    counted = {table.table: table.rows for table in erased.tables}
    # Only the views and training sets that have both columns as a key.
    assert set(counted) == {"features.pairs_v1", "training_sets.one", "training_sets.two", "registry.statistics"}
    stored = store.catalog.load_table("features.pairs_v1").scan().to_arrow()
    left = stored.filter(pc.equal(stored["customer"], CANARY))
    assert set(left["shop"].to_pylist()) == {0, 2}


def test_a_table_that_cannot_be_rewritten_is_refused_before_anything_changes(store: FeatureStore) -> None:
    delete_rows(Table(store.catalog.load_table("training_sets.two")), DataFileContent.POSITION_DELETES, [0])
    before = contents_of(store)
    with pytest.raises(Conflict, match=r"training_sets\.two has delete files; compact it"):
        store.erase("customer", CANARY)
    assert contents_of(store) == before


def contents_of(store: FeatureStore) -> dict[str, str]:
    return {name: store.catalog.load_table(name).metadata_location for name in (*FEATURES, *SETS)}


def test_what_is_no_key_is_named(store: FeatureStore) -> None:
    with pytest.raises(NotFound, match="no entity 'custmer'; did you mean 'customer'"):
        store.erase("custmer", 1)
    for entity, key in (("pair", "x"), ("customer", {"other": 1}), ("customer", None), ("pair", {"customer": "a"})):
        with pytest.raises(RequestError, match="key"):
            store.erase(entity, key)
    nobody = store.erase("customer", "nobody")
    assert (nobody.tables, nobody.complete) == ((), True)
    assert store.erasures()[0].number == 1


AFTER = (1, 3, 6, 9)
"""Steps after which an erasure is cut off; at the others it is before: of the log and of each kind of table there are both."""


def kill_at(number: int, patch: pytest.MonkeyPatch, owner: Any, name: str, after: bool) -> Callable[[], int]:
    count = 0
    original = getattr(owner, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and not after:
            raise Killed
        result = original(*arguments, **options)
        if count == number:
            raise Killed
        return result

    patch.setattr(owner, name, staticmethod(killed) if isinstance(owner, type) else killed)
    return lambda: count


@pytest.mark.parametrize("number, after", [(number, number in AFTER) for number in range(1, 10)])
def test_what_was_cut_off_is_finished(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
    """Metadata are written when the log is created and for its first row, once for each of six tables, and for the log's last row."""
    digests = {built.id: built.digest for built in store.training_sets()}
    before = contents(store)
    with monkeypatch.context() as patch:
        written = kill_at(number, patch, SqlCatalog, "_write_metadata", after)
        with pytest.raises(Killed):
            store.erase("customer", CANARY)
        assert written() == number
    with FeatureStore(home=store.settings.home) as again:
        assert all(built.rows in (34, 40) for built in again.training_sets())
        for id in digests:
            assert again.rebuild(id).had_digest(digests[id])
        monkeypatch.setattr(maintain, "GRACE", timedelta(0))
        monkeypatch.setattr(erasure, "GRACE", timedelta(0))
        erased = again.erase("customer", CANARY)
        assert files_with(again) == []
        assert [place for place in erased.remaining if not place.startswith("shop.orders")] == []
        assert {place: kept.num_rows for place, kept in contents(again).items()} == {place: kept.num_rows for place, kept in before.items()}
        for id in digests:
            assert again.rebuild(id).manifest["rows"] == 34
        first = again.erasures()[-1]
        assert (first.number, first.finished) == (1, True)
        # The certificate has what was done before the interruption, too.
        assert {one.id: one.digest_before for one in first.training_sets} == digests
        assert erased.number == 1


def test_files_that_could_not_be_deleted_are_named_until_they_are_old(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(1, patch, history_rewrite, "_delete", after=False)
        with pytest.raises(Killed):
            store.erase("customer", CANARY)
    assert files_with(store)
    named = store.erase("customer", CANARY)
    (files,) = [place for place in named.remaining if place.startswith("training_sets.one")]
    assert "of writes that are in progress, or were interrupted; erase again in a day" in files
    monkeypatch.setattr(erasure, "GRACE", timedelta(0))
    assert [place for place in store.erase("customer", CANARY).remaining if not place.startswith("shop.orders")] == []
    assert files_with(store) == []


def test_another_writer_is_not_lost(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = SqlCatalog._write_metadata
    committed: list[bool] = []

    def interfere(*arguments: Any, **options: Any) -> Any:
        if not committed and "features/notes_v1" in str(arguments):
            committed.append(True)
            with FeatureStore(home=store.settings.home) as other:
                change = rows(5, 20_300)
                other.catalog.load_table("shop.orders").append(change)
                other.materialize("notes")
        return commit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "_write_metadata", staticmethod(interfere))
        store.erase("customer", CANARY)
    assert committed
    stored = store.catalog.load_table("features.notes_v1").scan().to_arrow()
    assert stored.num_rows == 400 - 57 + 4
    assert files_with(store) == []
    assert datetime.now(UTC) > stored["created_timestamp"].to_pylist()[-1]
