"""Send a spine to a server: tables and SQL by name as JSON, rows as an Arrow file."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import orjson
import pyarrow as pa

from featurestore.dsl.csv_format import Csv
from featurestore.files.spine_files import open_spine_files
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.spines.file_format import SpineFiles
from featurestore.spines.join_request import JoinRequest
from featurestore.spines.time_grid import SpineGrid
from featurestore.values import frames, times

ARROW = "application/vnd.apache.arrow.stream"
SPOOLED_BYTES = 8 << 20


@contextmanager
def request_options(request: JoinRequest) -> Iterator[dict[str, Any]]:
    """httpx's options for this request: Iceberg tables and SQL are sent by name, any other spine is read here and uploaded.

    Raises: RequestError, TypeMismatch and NotFound for a spine that cannot be read here.
    """
    fields = {name: value for name, value in request.to_dict().items() if value is not None and value != []}
    if isinstance(spine := request.spine, SpineGrid):
        grid = {"start": times.text(spine.start), "end": times.text(spine.end), "every": f"{spine.every // 1_000_000}s"}
        yield {"json": {**fields, "spine": {"grid": grid}}}
        return
    with spine_options(spine, fields, [request.timestamp]) as options:
        yield options


@contextmanager
def spine_options(spine: Any, fields: Mapping[str, Any], times: Sequence[str]) -> Iterator[dict[str, Any]]:
    """As `request_options`, for these fields; `times` are the spine's columns of times."""
    text = os.fspath(spine).strip() if isinstance(spine, str | os.PathLike) else None
    if text is not None and text.startswith("iceberg:"):
        yield {"json": {**fields, "spine": {"table": text.removeprefix("iceberg:")}}}
    elif text is not None and frames.is_query(text):
        yield {"json": {**fields, "spine": {"sql": text}}}
    else:
        with open_rows(spine, times) as rows, upload(rows, fields, "spine") as options:
            yield options


@contextmanager
def upload(rows: pa.Table | pa.RecordBatchReader, fields: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """httpx's options for a form with these fields and the rows as a file in the field `name`."""
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as file:
        with pa.ipc.new_stream(pa.PythonFile(file, "w"), rows.schema) as writer:
            for batch in rows if isinstance(rows, pa.RecordBatchReader) else rows.to_batches(65_536):
                writer.write_batch(batch)
        file.seek(0)
        form = {field: value if isinstance(value, str) else orjson.dumps(value).decode() for field, value in fields.items()}
        yield {"data": form, "files": {name: (f"{name}.arrow", file, ARROW)}}


@contextmanager
def open_files(path: str, csv: Csv | None = None, times: Sequence[str] = (), noun: str = "spine file") -> Iterator[pa.RecordBatchReader]:
    """Open the rows of files on this machine; `csv` is the format of CSV files, `times` names their timestamp columns, and `noun` what the
    files are in a message.
    """
    # The engine is loaded only for CSV files.
    runtime = Runtime(Settings())
    try:
        with open_spine_files(runtime.files, lambda: runtime.engine, path, csv, times, noun) as rows:
            yield rows
    finally:
        runtime.close()


def open_rows(spine: Any, times: Sequence[str] = ()) -> AbstractContextManager[pa.Table | pa.RecordBatchReader]:
    """Open a spine that is read here: files or a frame; `times` names its timestamp columns. Raises: RequestError; NotFound."""
    if isinstance(spine, SpineFiles):
        return open_files(spine.pattern, spine.format, times)
    return open_files(os.fspath(spine).strip(), times=times) if isinstance(spine, str | os.PathLike) else nullcontext(_rows(spine))


def _rows(spine: Any) -> pa.Table | pa.RecordBatchReader:
    return spine if isinstance(spine, pa.RecordBatchReader) else frames.to_arrow_table(spine)
