"""Invalid uploaded spines and files of rows are refused with a reason, and the server continues."""

import io
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from featurestore import Settings
from featurestore.errors import RequestError
from featurestore.server.uploads.reader import UploadReader
from tests import forged, shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of
from tests.server.uploads.samples import ARROW_ROWS, SAMPLES

FIELDS = {"service": "churn", "timestamp": "asked_at"}
FORGED = {
    "offsets": forged.forged_offsets,
    "list offsets": forged.forged_list_offsets,
    "indices": forged.forged_indices,
    "views": forged.forged_views,
    "length": forged.forged_length,
    "size": forged.forged_size,
}
MUTATIONS = 1_000
REASONS = ("it is neither whole Parquet", "it has ", "its rows take over", "a column's name ", "the column ", "to read it takes over")
"""The beginnings of what is said of a file after its name."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadReader]:
    """A reader of uploads with the default limits."""
    opened = UploadReader(Settings(home=tmp_path_factory.mktemp("home")))
    yield opened
    opened.close()


def read_upload(reader: UploadReader, data: bytes) -> pa.Table:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return reader.rows(file).read_all()


@pytest.mark.parametrize("name", FORGED)
def test_forged_rows_are_refused_before_they_are_read(reader: UploadReader, name: str) -> None:
    data = FORGED[name](shop.spine())
    with pytest.raises(RequestError, match="the spine's file") as refusal:
        read_upload(reader, data)
    assert refusal.value.details["field"] == "spine"


def test_rows_come_in_plain_types(reader: UploadReader) -> None:
    for data in SAMPLES.values():
        rows = read_upload(reader, data)
        assert rows.num_rows == 60
        assert rows.schema.field("label").type == pa.string()
        assert rows.column("label").to_pylist() == ARROW_ROWS.column("label").to_pylist()
        assert rows.column("structs").to_pylist() == ARROW_ROWS.column("structs").to_pylist()
        assert rows.schema.metadata is None


@pytest.mark.slow
def test_small_files_of_endless_rows_are_refused(reader: UploadReader) -> None:
    read_upload(reader, SAMPLES["parquet"])
    for name, data in forged.bombs():
        assert len(data) < 2 << 20, name
        with pytest.raises(RequestError, match="the spine's file"):
            read_upload(reader, data)
    read_upload(reader, SAMPLES["parquet"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20


def test_decoded_bytes_are_limited(tmp_path: Path) -> None:
    reader = UploadReader(Settings(home=tmp_path, spine_limit="1MiB"))
    rows = pa.table({"x": pa.array(range(100_000))})
    try:
        for data in (forged.stream(rows, "zstd"), forged.file(rows), forged.parquet(rows)):
            with pytest.raises(RequestError, match=r"over 1 MiB when decoded; .* spine_limit"):
                read_upload(reader, data)
        assert read_upload(reader, forged.parquet(rows.slice(0, 1000))).num_rows == 1000
    finally:
        reader.close()


@pytest.mark.slow
def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    reader = UploadReader(Settings(home=tmp_path, spine_seconds=0.001))
    try:
        with pytest.raises(RequestError, match=r"longer than 0\.001 s"):
            read_upload(reader, forged.stream(pa.table({"x": pa.array(range(3_000_000))}), "zstd"))
    finally:
        reader.close()


@pytest.mark.slow
def test_a_reader_that_died_is_replaced(tmp_path: Path) -> None:
    reader = UploadReader(Settings(home=tmp_path))
    try:
        read_upload(reader, SAMPLES["parquet"])
        process = reader._forks.process
        assert process is not None
        process.kill()
        process.wait()
        assert read_upload(reader, SAMPLES["parquet"]).num_rows == 60
    finally:
        reader.close()


def test_odd_columns(reader: UploadReader) -> None:
    for name in ("", "a\0b", "x" * 2_000):
        with pytest.raises(RequestError, match="column's name"):
            read_upload(reader, forged.stream(pa.table({name: [1]})))
    union = pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])])
    with pytest.raises(RequestError, match="which cannot be stored"):
        read_upload(reader, forged.stream(pa.table({"x": union})))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files_are_refused_or_valid(name: str) -> None:
    seen: list[str] = []
    broken = 0
    while len(seen) < MUTATIONS:
        command = [sys.executable, "-m", "tests.server.uploads.mutations", name, str(MUTATIONS), str(len(seen))]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert "Error" not in ran.stderr, ran.stderr
        seen += ran.stdout.splitlines()
        if ran.returncode:
            # Read so, in a process of its own, it is refused as well.
            seen.append("broken")
            broken += 1
    assert broken < 10
    assert 10 < seen.count("valid") < MUTATIONS / 2
    assert all(line in ("valid", "broken") or line.startswith(REASONS) for line in seen), set(seen)


@pytest.mark.slow
def test_a_server_survives_mutated_files(served: Served) -> None:
    first = served.http.get("/healthz")
    for name, data in SAMPLES.items():
        for number, changed in enumerate(forged.mutated(data, name, 25)):
            answer = post(served.http, changed)
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, (name, number, answer.text)
            assert "pyarrow" not in answer.text
            assert "0x" not in answer.text
    assert served.http.get("/healthz").json() == first.json()


@pytest.mark.parametrize("name", FORGED)
def test_a_server_refuses_forged_files(served: Served, name: str) -> None:
    error = error_of(post(served.http, FORGED[name](shop.spine())), 400, "RequestError")
    assert "the spine's file" in error["message"]
    assert error["details"] == {"field": "spine"}
    written = served.http.post("/v1/table-writes", data={"table": "any"}, files={"rows": FORGED[name](shop.spine())})
    error = error_of(written, 400, "RequestError")
    assert error["message"].startswith("the file of rows: ")
    assert "spine" not in error["message"].replace("spine_limit", "")
    assert error["details"] == {"field": "rows"}
    form = {**FIELDS, "name": "forged"}
    error_of(served.http.post("/v1/training-sets", data=form, files={"spine": FORGED[name](shop.spine())}), 400, "RequestError")


def post(http: httpx.Client, data: bytes) -> httpx.Response:
    return http.post("/v1/point-in-time", data=FIELDS, files={"spine": io.BytesIO(data)})
