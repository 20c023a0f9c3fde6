"""Compute the rows of one chunk, and write those that the feature table lacks to data files."""

from collections.abc import Callable
from dataclasses import dataclass, field

from featurestore.compiler.log_diff import first_rows
from featurestore.compiler.query import Query
from featurestore.lakehouse.data_files import DataFiles
from featurestore.pipelines.materialization import checks
from featurestore.pipelines.materialization.checks import Tally
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.compute import OpenSpan, Task, chunk_of, events_are_unique
from featurestore.pipelines.materialization.row_diff import compare
from featurestore.pipelines.materialization.writing import FeatureFiles


@dataclass(frozen=True)
class ChunkCounts:
    """Of a chunk, or of several: the rows that were computed, those that were written, and how many of these are corrections, and
    tombstones. `tally` has the counts for the view's checks.
    """

    computed: int = 0
    written: int = 0
    corrections: int = 0
    deletions: int = 0
    tally: Tally = field(default_factory=Tally)

    def __add__(self, other: "ChunkCounts") -> "ChunkCounts":
        return ChunkCounts(
            self.computed + other.computed,
            self.written + other.written,
            self.corrections + other.corrections,
            self.deletions + other.deletions,
            self.tally + other.tally,
        )


def compute_chunk(task: Task, open_span: OpenSpan, chunk: Chunk, files: DataFiles, on_deletions: Callable[[], None]) -> ChunkCounts:
    """Compute a chunk and write its new rows to `files`. `on_deletions` is called before tombstones are written.

    Raises: TypeMismatch, RequestError, OutOfResources.
    """
    written = _write_directly(task, open_span, chunk, files)
    if written is not None:
        return ChunkCounts(written, written)
    difference = compare(task, chunk_of(task, open_span, chunk), open_span.fresh)
    tally = checks.tally(task.session, task.view, difference.computed) if task.view.checks else Tally()
    if difference.deletions:
        on_deletions()
    appended = _write(task, chunk, difference.rows, files, "created_timestamp", deletions=difference.deletions > 0) or 0
    return ChunkCounts(difference.computed_rows, appended, difference.corrections, difference.deletions, tally)


def _write_directly(task: Task, open_span: OpenSpan, chunk: Chunk, files: DataFiles) -> int | None:
    """Write the rows of a chunk while they are computed, without a copy in the session, and return their number.

    None, with nothing written, if the rows have to be stored first: the table has rows of the chunk, the view has checks, or several
    rows share keys and feature_timestamp.
    """
    if not open_span.fresh or task.view.checks:
        return None
    if task.view.every is None and not chunk.of_one_month and not events_are_unique(task, chunk):
        return None
    rows = first_rows(task.keys, task.features, chunk_of(task, open_span, chunk, unique=True).computed, task.run)
    # In the sorted file of one month, rows with equal keys and times are neighbors: searching the file takes a tenth of the time.
    return _write(task, chunk, rows, files, alone=task.view.every is None and chunk.of_one_month)


def _write(task: Task, chunk: Chunk, rows: Query, files: DataFiles, *more: str, alone: bool = False, deletions: bool = False) -> int | None:
    writer = FeatureFiles(task.session, task.table, task.keys, task.columns)
    return writer.write(rows, files, chunk.month_rows, *more, of_one_month=chunk.of_one_month, alone=alone, deletions=deletions)
