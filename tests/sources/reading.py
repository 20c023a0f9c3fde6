"""Read the files of a source as the store does: columns, types and rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featurestore import Csv, Settings
from featurestore.compiler.query import text_query
from featurestore.files import listing
from featurestore.files.csv_files import CsvFiles
from featurestore.files.parquet_files import ParquetFiles
from featurestore.records.runtime import Runtime


class Reading:
    """A store's parts, for looking at files through them."""

    def __init__(self, runtime: Runtime) -> None:
        self.parts = runtime

    def open(self, pattern: object, written: Csv | None = None, *times: str) -> ParquetFiles | CsvFiles:
        return self.parts.files.open(listing.file_states(listing.list_files(str(pattern))), written, times)

    def types(self, pattern: object, written: Csv | None = None, *times: str) -> dict[str, str]:
        with self.parts.engine.brief() as session:
            session.add("files", self.open(pattern, written, *times).relation)
            return dict(session.schema(text_query("SELECT * FROM files")))

    def rows(self, pattern: object, written: Csv | None = None, *times: str) -> list[tuple[Any, ...]]:
        with self.parts.engine.brief() as session:
            session.add("files", self.open(pattern, written, *times).relation)
            return [tuple(row.values()) for row in session.batches(text_query("SELECT * FROM files")).read_all().to_pylist()]


@contextmanager
def reading(home: Path) -> Iterator[Reading]:
    parts = Runtime(Settings(home=home))
    try:
        yield Reading(parts)
    finally:
        parts.close()
