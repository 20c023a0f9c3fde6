"""Files of the store's own tables are kept as they were read, and only as long as they lie unchanged."""

from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.lakehouse.small_files import KEPT_FILES, SmallFiles


class Reading:
    """Counts its reads of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def __call__(self) -> list[pa.RecordBatch]:
        self.count += 1
        return [pa.record_batch({"content": [self.path.read_text()]})]


def contents(batches: list[pa.RecordBatch]) -> list[str]:
    return [row["content"] for batch in batches for row in batch.to_pylist()]


def test_a_file_is_read_once_for_each_choice_of_columns(tmp_path: Path) -> None:
    path, files = tmp_path / "a.parquet", SmallFiles()
    path.write_text("first")
    read = Reading(path)
    for columns in ("all", "all", "few", "all"):
        assert contents(files.read(str(path), columns, read)) == ["first"]
    assert read.count == 2


def test_a_file_that_was_replaced_is_read_again_and_a_lost_one_is_an_error(tmp_path: Path) -> None:
    path, files = tmp_path / "a.parquet", SmallFiles()
    path.write_text("first")
    read = Reading(path)
    assert contents(files.read(str(path), "", read)) == ["first"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        files.read(str(path), "", read)
    path.write_text("other")
    assert contents(files.read(str(path), "", read)) == ["other"]


def test_what_was_not_read_for_long_is_forgotten(tmp_path: Path) -> None:
    files, reads = SmallFiles(), []
    for number in range(KEPT_FILES + 1):
        path = tmp_path / f"{number}.parquet"
        path.write_text("x")
        reads.append(Reading(path))
        files.read(str(path), "", reads[-1])
    files.read(str(tmp_path / "1.parquet"), "", reads[1])
    files.read(str(tmp_path / "0.parquet"), "", reads[0])
    assert (reads[1].count, reads[0].count) == (1, 2)
