"""Files of a source read as the store reads them: their columns, types and rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featurestore import Csv, Settings
from featurestore.pipelines.files import listing
from featurestore.pipelines.files.csv import CsvFiles
from featurestore.pipelines.files.parquet import ParquetFiles
from featurestore.pipelines.parts import Parts


class Reading:
    """A store's parts, for looking at files through them."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def open(self, pattern: object, written: Csv | None = None, *times: str) -> ParquetFiles | CsvFiles:
        return self.parts.files.open(listing.states(listing.listed(str(pattern))), written, times)

    def types(self, pattern: object, written: Csv | None = None, *times: str) -> dict[str, str]:
        with self.parts.engine.brief() as session:
            session.add("files", self.open(pattern, written, *times).relation)
            return dict(session.schema("SELECT * FROM files"))

    def rows(self, pattern: object, written: Csv | None = None, *times: str) -> list[tuple[Any, ...]]:
        with self.parts.engine.brief() as session:
            session.add("files", self.open(pattern, written, *times).relation)
            return [tuple(row.values()) for row in session.batches("SELECT * FROM files").read_all().to_pylist()]


@contextmanager
def reading(home: Path) -> Iterator[Reading]:
    parts = Parts(Settings(home=home))
    try:
        yield Reading(parts)
    finally:
        parts.close()
