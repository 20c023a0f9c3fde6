"""`push`: push the rows of a file to a source."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say
from featurestore.errors import FeatureStoreError, RequestError
from featurestore.values.humanize import format_count, format_plural

if TYPE_CHECKING:
    from featurestore.dsl.csv_format import Csv
    from featurestore.store_protocol import Store

PART_ROWS = 10_000
"""Rows of one push."""
LINES = (".jsonl", ".ndjson")


@click.command(cls=Command)
@click.argument("source")
@click.argument("file")
@context.store_options
def push(source: str, file: str) -> None:
    """Push the rows of a file to a source.

    SOURCE has a schema. FILE is Parquet, CSV or JSON lines (.jsonl, .ndjson; - for standard input). Rows are pushed in parts of 10,000,
    each of which is durable when the next one begins: after an error, the parts before it stay. Push the file again then: ids that are
    known count once.
    """
    with ExitStack() as stack:
        store = stack.enter_context(context.store())
        counts = {"rows": 0, "new": 0, "known": 0}
        for part in _parts(stack, store, source, file):
            try:
                done = store.push(source, part)
            except FeatureStoreError as error:
                before = counts["rows"]
                if before:
                    error.message = f"{file}, counted from row {before}: {error.message}. The rows before that were pushed"
                else:
                    error.message = f"{file}: {error.message}. Nothing was pushed"
                raise
            for name, value in (("rows", done.rows), ("new", done.new), ("known", done.known)):
                counts[name] += value
    if context.as_json():
        print_json({"source": source, **counts})
        return
    known = f", {format_count(counts['known'])} known by their ids" if counts["known"] else ""
    say(f"[bold]{escape(source)}[/]  {format_count(counts['new'])} of {format_plural(counts['rows'], 'row')} new{known}")


def _parts(stack: ExitStack, store: "Store", source: str, file: str) -> Iterator[Any]:
    if file == "-" or file.endswith(LINES):
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(_open(file))
        yield from _line_parts(stream, file)
        return
    # Imported here: reading files loads the engine.
    import pyarrow as pa  # noqa: PLC0415

    from featurestore.client.spines import open_files  # noqa: PLC0415

    rows = stack.enter_context(open_files(file, _csv(store, source, file), noun="file of rows"))
    for batch in rows:
        for start in range(0, batch.num_rows, PART_ROWS):
            yield pa.Table.from_batches([batch.slice(start, PART_ROWS)])


def _open(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise RequestError(f"the file {file} cannot be read: {error.strerror}", path=file) from error


def _line_parts(stream: Any, file: str) -> Iterator[list[Any]]:
    # Imported here: few commands read JSON.
    import orjson  # noqa: PLC0415

    part: list[Any] = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            part.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise RequestError(f"line {number} of {file} is not JSON: {error}", line=number) from error
        if len(part) == PART_ROWS:
            yield part
            part = []
    if part:
        yield part


def _csv(store: "Store", source: str, file: str) -> "Csv | None":
    """The types of the columns of a CSV file, which has none of its own."""
    from featurestore.dsl.csv_format import Csv  # noqa: PLC0415 - as those above

    path = Path(file)
    if not file.endswith((".csv", ".csv.gz")) or not path.is_file():
        return None
    schema = next((info.schema for info in store.sources() if info.name == source), None) or {}
    with gzip.open(path, "rt", encoding="utf-8") if file.endswith(".gz") else path.open(encoding="utf-8") as opened:
        header = set(opened.readline().rstrip("\r\n").replace('"', "").split(","))
    texts = {name: "string" for name, type_name in schema.items() if name in header and type_name in ("varchar", "string", "text")}
    return Csv(types=texts) if texts else None
