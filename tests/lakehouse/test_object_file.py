"""Objects on S3 as files: how many requests they take, what is kept of them, and what is left of what was not finished."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile

from featurestore.lakehouse import bucket, object_file
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS, Content, KeptObjects
from featurestore.lakehouse.local_io import LocalFirstIO, delete_files, preload
from featurestore.lakehouse.object_errors import ObjectError, ObjectMissing
from featurestore.lakehouse.object_file import ObjectFile, ObjectStream
from featurestore.lakehouse.object_parquet import RemoteFiles, read_ahead, read_footers
from tests import s3
from tests.s3_proxy import Proxy, proxy

ROWS = 200_000


@pytest.fixture(scope="module")
def lake() -> Iterator[Proxy]:
    with s3.server() as endpoint, proxy(endpoint) as made:
        yield made


@pytest.fixture
def io(lake: Proxy) -> Iterator[LocalFirstIO]:
    yield LocalFirstIO({"s3.endpoint": lake.endpoint, **s3.ACCESS})
    lake.strike = lambda asked: None


def forget() -> None:
    KEPT.clear()
    KEPT_COLUMNS.clear()


def write(io: LocalFirstIO, location: str, content: bytes) -> None:
    with io.new_output(location).create(overwrite=True) as stream:
        stream.write(content)


def test_a_metadata_file_is_one_request_to_write_and_one_to_read(lake: Proxy, io: LocalFirstIO) -> None:
    location = "s3://lake/ware house/m=1%3A/00000-6a1f2c9e-0000-4000-8000-000000000001.metadata.json"
    lake.take()
    with io.new_output(location).create() as stream:
        stream.write(b"{}")
    assert lake.take().requests == {"PUT": 1}
    assert io.new_input(location).open().read() == b"{}"
    assert lake.take().requests == {}, "what this process wrote is kept"
    forget()
    for _ in range(2):
        assert io.new_input(location).open().read() == b"{}"
    assert lake.take().requests == {"GET": 1}
    assert s3.stored_names(lake.endpoint, "lake/ware house/m=1%3A") == {location.rpartition("/")[2]}


def test_a_name_that_is_not_unique_is_looked_for_before_it_is_written(io: LocalFirstIO) -> None:
    write(io, "s3://lake/plain.json", b"1")
    with pytest.raises(FileExistsError):
        io.new_output("s3://lake/plain.json").create()


def test_small_files_are_one_put_and_large_ones_are_sent_in_parts(lake: Proxy, io: LocalFirstIO) -> None:
    content = os.urandom(object_file.PART_BYTES * 2 + 5)
    lake.take()
    write(io, "s3://lake/large.parquet", content)
    counts = lake.take()
    assert counts.requests["PUT"] == 3
    assert counts.requests["POST"] == 2
    assert io.new_input("s3://lake/large.parquet").open().read() == content
    forget()
    assert len(io.new_input("s3://lake/large.parquet")) == len(content)


def test_a_stream_that_fails_or_is_forgotten_leaves_nothing(lake: Proxy, io: LocalFirstIO) -> None:
    def fail(size: int) -> None:
        with io.new_output("s3://lake/half/a.parquet").create(overwrite=True) as stream:
            stream.write(b"x" * size)
            raise ValueError("no more")

    for size in (10, object_file.PART_BYTES * 2):
        with pytest.raises(ValueError, match="no more"):
            fail(size)
    forgotten = io.new_output("s3://lake/half/b.parquet").create(overwrite=True)
    assert isinstance(forgotten, ObjectStream)
    forgotten.write(b"x")
    del forgotten
    assert s3.stored_names(lake.endpoint, "lake/half") == set()


def parquet(io: LocalFirstIO, location: str, rows: int = ROWS) -> tuple[DataFile, pa.Table]:
    table = pa.table({name: pa.array(range(first, first + rows)) for first, name in enumerate("abcdefgh")})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS // 4, compression="none", use_dictionary=False)
    content = sink.getvalue().to_pybytes()
    write(io, location, content)
    return DataFile.from_args(file_path=location, file_size_in_bytes=len(content)), table


def test_columns_are_read_by_one_request_for_the_end_and_one_for_each_part(lake: Proxy, io: LocalFirstIO) -> None:
    file, table = parquet(io, "s3://lake/p/a.parquet")
    forget()
    lake.take()
    remote = RemoteFiles(io, {"a": file})
    footer = remote.footer("a")
    assert lake.take().requests == {"GET": 1}
    for _ in range(2):
        assert remote.read("a", footer, [1], ["b", "c"]).equals(table.select(["b", "c"]).slice(ROWS // 4, ROWS // 4))
    assert lake.take().requests == {"GET": 1}, "neighbors are one range, and what was read is kept"
    ends = remote.read("a", footer, [0, 3], ["a", "h"])
    assert ends.equals(pa.concat_tables([table.slice(0, ROWS // 4), table.slice(ROWS * 3 // 4)]).select(["a", "h"]))


def test_files_are_read_ahead_in_their_order(lake: Proxy, io: LocalFirstIO) -> None:
    files = [parquet(io, f"s3://lake/q/{number}.parquet", 1000 + number)[0] for number in range(40)]
    forget()
    lake.take()
    read = [(file.file_path, sum(len(batch) for batch in rows[1])) for file, rows in read_ahead(io, files, lambda footer: ["a"]) if rows]
    assert read == [(file.file_path, 1000 + number) for number, file in enumerate(files)]
    assert lake.take().requests == {"GET": len(files)}, "a small file is one request"
    assert len(read_footers(io, files)) == len(files)
    assert lake.take().requests == {}


def test_many_files_are_deleted_by_one_request(lake: Proxy, io: LocalFirstIO) -> None:
    locations = [f"s3://lake/d/{number}.avro" for number in range(20)]
    for location in locations:
        write(io, location, b"x")
    forget()
    lake.take()
    preload(io, locations)
    assert lake.take().requests == {"GET": 20}
    delete_files(io, [*locations, "s3://lake/d/none.avro"])
    assert lake.take().requests == {"POST": 1}
    assert s3.stored_names(lake.endpoint, "lake/d") == set()
    io.delete("s3://lake/d/none.avro")


def test_a_file_that_is_shorter_than_the_metadata_say_is_refused(io: LocalFirstIO) -> None:
    write(io, "s3://lake/short.parquet", b"x" * 1000)
    for size in (2000, object_file.WHOLE_BYTES * 2):
        forget()
        file = io.sized_input("s3://lake/short.parquet", size)
        assert isinstance(file, ObjectFile)
        with pytest.raises(ObjectError, match=r"s3://lake/short\.parquet"):
            file.read_end()
    with pytest.raises(ObjectMissing):
        io.new_input("s3://lake/none.avro").open()
    with pytest.raises(ObjectError, match="NoSuchBucket"):
        io.new_input("s3://sea/none.avro").open()


def test_what_is_kept_is_bounded() -> None:
    kept = KeptObjects(100, largest=60)
    for number in range(10):
        kept.keep(number, Content(40, 0, pa.py_buffer(b"x" * 40)))
    kept.keep("large", Content(61, 0, pa.py_buffer(b"x" * 61)))
    assert [number for number in (*range(10), "large") if kept.get(number)] == [8, 9]
    kept.get(8)
    kept.keep(10, Content(40, 0, pa.py_buffer(b"x" * 40)))
    assert [number for number in range(11) if kept.get(number)] == [8, 10]


@pytest.mark.parametrize(
    "properties",
    [{"s3.role-arn": "arn"}, {"s3.force-virtual-addressing": "true"}, {"s3.access-key-id": None}, {"s3.region": None, "s3.endpoint": None}],
    ids=lambda properties: next(iter(properties)),
)
def test_other_access_is_left_to_pyarrow(
    lake: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, properties: dict[str, str | None]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").touch()
    given = {"s3.endpoint": lake.endpoint, **s3.ACCESS}
    assert bucket.find_bucket("lake", given) is not None
    assert bucket.find_bucket("lake", {name: value for name, value in {**given, **properties}.items() if value}) is None


def test_a_process_that_was_forked_uses_pyarrow(io: LocalFirstIO) -> None:
    write(io, "s3://lake/forked.avro", b"x")
    child = os.fork()
    if child == 0:
        os._exit(0 if bucket.find_bucket("lake", io.properties) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert isinstance(copy.copy(io).new_input("s3://lake/forked.avro"), ObjectFile)


@pytest.mark.slow
def test_a_server_that_sends_ranges_with_another_status(tmp_path: Path) -> None:
    with s3.rclone(tmp_path / "buckets") as endpoint:
        io = LocalFirstIO({"s3.endpoint": endpoint, **s3.ACCESS})
        file, table = parquet(io, "s3://lake/p/a.parquet")
        forget()
        remote = RemoteFiles(io, {"a": file})
        assert remote.read("a", remote.footer("a"), [0, 1, 2, 3], ["b", "g"]).equals(table.select(["b", "g"]))
        delete_files(io, ["s3://lake/p/a.parquet"])
        assert not any((tmp_path / "buckets").rglob("*.parquet"))
