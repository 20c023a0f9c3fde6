"""Copies of files of this machine: only new and changed files are read, and the result is that of reading all of them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Csv, FeatureStore, FeatureView, Source
from featurestore.errors import DefinitionError, FeatureStoreError, NotFound, RequestError, TypeMismatch
from featurestore.files import listing
from featurestore.files.object_files import _matches
from featurestore.lakehouse import row_swap
from featurestore.sources.kept import file_copy
from tests import worlds
from tests.sources.kept import events
from tests.thorough import choose


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(home=tmp_path / "home")


def source(folder: Path, keep: bool = True, **more: object) -> Source:
    return Source("events", path=str(folder / "day=*" / "*.parquet"), timestamp="at", keep=keep, **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_only_new_and_changed_files_are_read(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    opened = file_copy._Copy._open

    def note_and_open(copy: Any, session: Any, number: int, path: str, state: str) -> Any:
        read.append(path)
        return opened(copy, session, number, path, state)

    monkeypatch.setattr(file_copy._Copy, "_open", note_and_open)
    events.write(tmp_path, 0, [1.0, 2.0])
    events.write(tmp_path, 1, [3.0])
    events.serve(store, source(tmp_path))
    assert len(read) == 2
    before = events.kept(store).metadata.current_snapshot_id
    store.materialize()
    assert len(read) == 2
    assert events.kept(store).metadata.current_snapshot_id == before
    events.write(tmp_path, 2, [4.0])
    events.write(tmp_path, 0, [1.0, 20.0])
    store.materialize()
    assert len(read) == 4
    table = events.kept(store)
    assert sorted(table.scan().to_arrow().column("amount").to_pylist()) == [1.0, 3.0, 4.0, 20.0]
    assert [snapshot.summary.operation.value for snapshot in table.snapshots()] == ["append", "overwrite"]


@pytest.mark.slow
def test_a_file_that_is_gone_takes_its_rows_along_but_all_files_do_not(store: FeatureStore, tmp_path: Path) -> None:
    events.write(tmp_path, 0, [1.0])
    gone = events.write(tmp_path, 1, [3.0])
    events.serve(store, source(tmp_path))
    gone.unlink()
    store.materialize()
    assert events.kept(store).scan().to_arrow().column("amount").to_pylist() == [1.0]
    (tmp_path / "day=2026-01-01" / "a.parquet").unlink()
    with pytest.raises(NotFound, match="no file"):
        store.materialize()
    assert events.kept(store).scan().to_arrow().num_rows == 1


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_read_is_refused_and_nothing_is_written(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events.write(tmp_path, 0, [1.0])
    store.apply([events.service("s", source(tmp_path))])
    read = file_copy._read_file

    def read_and_change(*given: Any) -> Any:
        yield from read(*given)
        events.write(tmp_path, 0, [1.0, 2.0])

    monkeypatch.setattr(file_copy, "_read_file", read_and_change)
    with pytest.raises(RequestError, match=r"the file .*a\.parquet was changed, replaced or removed while it was copied"):
        store.materialize()
    assert events.kept(store).metadata.current_snapshot_id is None
    monkeypatch.undo()
    store.materialize()
    assert events.kept(store).scan().to_arrow().num_rows == 2


@pytest.mark.slow
@worlds.on_a_store(choose(2, 40))
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.none() | st.lists(st.integers(0, 3).map(float), max_size=5)),
            min_size=1,
            max_size=3,
        ),
        min_size=2,
        max_size=4,
    )
)
def test_any_changes_of_files_give_what_a_fresh_store_reads(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[int, str, list[float] | None]]]
) -> None:
    folder = tmp_path_factory.mktemp("changes")
    data = folder / "data"
    events.write(data, 0, [5.0], "first")
    with FeatureStore(home=folder / "kept") as store:
        events.serve(store, source(data))
        for step in steps:
            for day, name, amounts in step:
                path = data / f"day=2026-01-{day + 1:02d}" / f"{name}.parquet"
                if amounts is not None:
                    events.write(data, day, amounts, name)
                elif path.exists():
                    path.unlink()
            store.materialize()
        found = events.joined(store)
    with FeatureStore(home=folder / "fresh") as fresh:
        events.serve(fresh, source(data, keep=False))
        assert found == events.joined(fresh)


@pytest.mark.slow
def test_an_interrupted_copy_continues(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_copy, "PIECE_FILES", 1)
    for day in range(3):
        events.write(tmp_path, day, [float(day)])
    made = events.service("s", source(tmp_path))
    store.apply([made])
    swap, calls = row_swap.swap, []

    def interrupt(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return swap(*given, **named)

    monkeypatch.setattr(row_swap, "swap", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.materialize()
    assert events.kept(store).scan().to_arrow().num_rows == 1
    store.materialize()
    assert sorted(events.kept(store).scan().to_arrow().column("amount").to_pylist()) == [0.0, 1.0, 2.0]


@pytest.mark.slow
def test_types_widen_in_place_or_name_both_files(store: FeatureStore, tmp_path: Path) -> None:
    first = events.write(tmp_path, 0, [1.0])
    at = pq.read_table(first).select(["user_id", "at"])
    pq.write_table(at.append_column("amount", pa.array([1], pa.int32())), first)
    last = FeatureView("last", entity=events.USER, source=source(tmp_path), features={"day": "day"})
    store.apply([last])
    store.materialize()
    second = events.write(tmp_path, 1, [1.0])
    pq.write_table(at.append_column("amount", pa.array([1 << 40], pa.int64())).append_column("more", pa.array(["x"])), second)
    store.materialize()
    found = events.kept(store).scan().to_arrow().sort_by("amount")
    assert (found.column("amount").to_pylist(), found.column("more").to_pylist()) == ([1, 1 << 40], [None, "x"])
    third = events.write(tmp_path, 2, [1.0])
    pq.write_table(at.append_column("amount", pa.array(["much"])), third)
    with pytest.raises(TypeMismatch, match=r"column 'amount' is .* and string in .*day=2026-01-03/a.parquet"):
        store.materialize()


@pytest.mark.slow
def test_types_of_folders_are_declared_or_stay_as_they_were(store: FeatureStore, tmp_path: Path) -> None:
    for day, code in enumerate(["1", "2"]):
        events.write(tmp_path, day, [1.0]).parent.rename(tmp_path / f"code={code}")
    path = str(tmp_path / "code=*" / "*.parquet")
    last = FeatureView("last", entity=events.USER, source=Source("e", path=path, timestamp="at", keep=True), features=["code"])
    text = Source("t", path=path, timestamp="at", keep=True, partitions={"code": "string"})
    store.apply([last, FeatureView("text", entity=events.USER, source=text, features=["code"])])
    store.materialize()
    types = {name: store.catalog.load_table(("features", name)).schema().find_field("code").field_type for name in ("last_v1", "text_v1")}
    assert {name: str(kind) for name, kind in types.items()} == {"last_v1": "long", "text_v1": "string"}
    (tmp_path / "code=1").rename(tmp_path / "code=x")
    store.materialize(["text"])
    with pytest.raises(RequestError, match=r"the folder code=x has no BIGINT.*partitions=\{'code': 'string'\}"):
        store.materialize(["last"])


@pytest.mark.slow
def test_csv_keeps_the_types_of_its_first_copy(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id;at;amount;empty\n1;2026-01-01;1,5;\n")
    csv = Source("c", path=str(tmp_path / "*.csv"), timestamp="at", keep=True, format=Csv(delimiter=";", decimal=","))
    store.apply([FeatureView("last", entity=events.USER, source=csv, features=["amount"])])
    store.materialize()
    assert events.kept(store).scan().to_arrow().column("amount").to_pylist() == [1.5]
    (tmp_path / "b.csv").write_text("user_id;at;amount\n1;2026-01-02;much\n")
    with pytest.raises(RequestError, match=r"source c: .*b\.csv, line 2, column 'amount': 'much' is not a number"):
        store.materialize()


def test_a_file_without_its_time_is_named(store: FeatureStore, tmp_path: Path) -> None:
    events.serve(store, source(events.write(tmp_path, 0, [1.0]).parent.parent))
    other = events.write(tmp_path, 1, [1.0])
    pq.write_table(pq.read_table(other).drop_columns(["at"]), other)
    with pytest.raises(RequestError, match=r"the file .*day=2026-01-02/a.parquet has no column 'at'"):
        store.materialize()


@pytest.mark.parametrize(
    "pattern, names, matches",
    [
        ("*.parquet", "a.parquet", True),
        ("*.parquet", "_a.parquet", False),
        ("*.parquet", "d/a.parquet", False),
        ("day=*/*.parquet", "day=1/a.parquet", True),
        ("**/*.parquet", "a.parquet", True),
        ("**/*.parquet", "x/y/a.parquet", True),
        ("**/*.parquet", "x/.y/a.parquet", False),
        ("**/*.parquet", "x/_k=1/a.parquet", True),
        ("?.parquet", "ab.parquet", False),
        ("[ab].parquet", "b.parquet", True),
    ],
)
def test_patterns_of_addresses_are_those_of_folders(tmp_path: Path, pattern: str, names: str, matches: bool) -> None:
    assert _matches(names.split("/"), pattern.split("/")) is matches
    (tmp_path / names).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / names).touch()
    try:
        assert listing.list_files(f"{tmp_path}/{pattern}") == [str(tmp_path / names)]
        assert matches
    except FeatureStoreError:
        assert not matches


@pytest.mark.parametrize(
    "given, said",
    [
        (Source("c", path="a.parquet", timestamp="t", partitions={"day": "double"}), "is no type of a folder's column"),
        (Source("c", table="a.b", timestamp="t", keep=True), "there is no path="),
        (Source("c", path="s3://key:secret@bucket/x.parquet", timestamp="t"), r"s3://key:\*\*\*@bucket/x.parquet' has credentials"),
        (Source("c", path="https://host/*.parquet", timestamp="t"), "has wildcards or parameters"),
        (Source("c", path="https://host/x.parquet?sig=abc", timestamp="t"), "has wildcards or parameters"),
        (Source("c", path="s3://bucket", timestamp="t"), "names no bucket or server with a path"),
        (Source("c", path="s3://bu*/x.parquet", timestamp="t"), "names no bucket or server with a path"),
        (Source("c", table="a.b", timestamp="t", watermark="w"), "there is no url="),
    ],
)
def test_what_is_wrong_is_named_without_its_secrets(store: FeatureStore, given: Source, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as raised:
        store.plan([given])
    assert "secret" not in str(raised.value).replace("has a secret", "")
    assert "sig=abc" not in str(raised.value)
