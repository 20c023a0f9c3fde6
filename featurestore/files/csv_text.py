"""Read CSV files as text, only for what DuckDB does not report: the header, and the line of an error."""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.dsl.csv_format import Csv
from featurestore.errors import RequestError

_ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}
_LONGEST_CELL = 2 << 20
_OTHERS = (";", "\t", "|", ",")
_BOMS = (b"\xff\xfe", b"\xfe\xff")


def header(path: str, csv_format: Csv) -> tuple[str, ...]:
    """The column names in a file's first line, without an empty one at the end. Raises: RequestError naming the file."""
    with _records(path, csv_format) as records:
        names = next((cells for _, cells in records), None)
    if names is None:
        raise _wrong(path, 1, "is empty; its first line must name the columns")
    if len(names) > 1 and not names[-1].strip():
        # A delimiter at the end of each line.
        names = names[:-1]
    if not any(name.strip() for name in names):
        raise _wrong(path, 1, "is empty; the first line of a file must name its columns")
    other = next((mark for mark in _OTHERS if mark != csv_format.delimiter and mark in names[0]), None) if len(names) == 1 else None
    if other is not None:
        advice = f"declare it: format=Csv(delimiter={other!r}, ...)"
        raise _wrong(path, 1, f"has {other!r} between its columns, not {csv_format.delimiter!r}; {advice}")
    numbers_of: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise _wrong(path, 1, f"has no name for column {number}")
        if (first := numbers_of.setdefault(name.lower(), number)) != number:
            raise _wrong(path, 1, f"has '{name}' for columns {first} and {number}, and case does not tell names apart; rename one")
    return tuple(names)


def line_of(path: str, csv_format: Csv, names: Sequence[str], column: str, text: str) -> int | None:
    """The first line whose record has this text in this column; None if Python's CSV reader finds none."""
    place = list(names).index(column)
    with _records(path, csv_format) as records:
        next(records, None)
        return next((line for line, cells in records if len(cells) > place and cells[place] == text), None)


def problem(path: str, csv_format: Csv, names: Sequence[str]) -> RequestError | None:
    """The reason, with its line, why a file cannot be read as records of these columns; None if there is none."""
    try:
        with _records(path, csv_format) as records:
            for line, cells in records:
                extra = cells[len(names) :]
                if len(cells) < len(names) or len(extra) > 1 or any(extra):
                    message = (
                        f"has {len(cells)} values where the header names {len(names)} columns: {_short(csv_format.delimiter.join(cells))}"
                    )
                    return _wrong(path, line, message)
        return _mixed_ends(path)
    except RequestError as error:
        return error


def _mixed_ends(path: str) -> RequestError | None:
    """The error for the first line with another line ending than the lines before, which DuckDB does not read; None if there is none."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as raw:
        first: bool | None = None
        for number, line in enumerate(raw, start=1):
            if line.endswith(b"\n"):
                windows = line.endswith(b"\r\n")
                if first is not None and windows != first:
                    ends = ("\\r\\n", "\\n") if windows else ("\\n", "\\r\\n")
                    return _wrong(path, number, f"ends in {ends[0]} and the lines before in {ends[1]}; use one line ending")
                first = windows
    return None


@contextmanager
def _records(path: str, csv_format: Csv) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The records of a file with their line numbers, without empty lines. Raises: RequestError naming file and line."""
    try:
        with open(path, "rb") as raw:
            begin = raw.read(2)
            raw.seek(0)
            with gzip.open(raw) if path.endswith(".gz") else raw as unpacked:
                if begin in _BOMS and csv_format.encoding == "utf-8":
                    raise _wrong(path, 1, "is UTF-16, not UTF-8; declare it: format=Csv(encoding='utf-16')")
                if csv_format.encoding == "utf-16" and begin not in (b"\xff\xfe", b"") and not path.endswith(".gz"):
                    raise _wrong(path, 1, "does not begin with the mark FF FE of UTF-16 as it can be read; write the file as UTF-8")
                decoded = io.TextIOWrapper(unpacked, encoding=_ENCODINGS[csv_format.encoding], newline="")
                yield _lines(path, csv_format, decoded)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"the file {path} cannot be read: {reason}", path=path) from error


def _lines(path: str, csv_format: Csv, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_CELL)
    double = csv_format.escape == csv_format.quote
    options: dict[str, Any] = {"doublequote": double, "escapechar": None if double else csv_format.escape or None, "strict": True}
    options |= {"quotechar": csv_format.quote} if csv_format.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    records = csv.reader(text, delimiter=csv_format.delimiter, **options)
    line = 1
    while True:
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise _wrong(path, line, f"cannot be read as CSV ({error}); is a quote missing?") from error
        except UnicodeError as error:
            # The reader decodes ahead of the lines that it returns.
            raise _decode_error(path, csv_format, line) from error
        if cells is None:
            return
        if cells:
            yield line, cells
        line = records.line_num + 1


def _decode_error(path: str, csv_format: Csv, line: int) -> RequestError:
    """The error for the first line that cannot be decoded."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as raw:
        for number, content in enumerate(raw, start=1):
            try:
                content.decode(_ENCODINGS[csv_format.encoding])
            except UnicodeError:
                line = number
                break
    return _wrong(
        path,
        line,
        f"is not {csv_format.encoding}; declare the encoding, format=Csv(encoding='latin-1') or 'utf-16', or write the file as UTF-8",
    )


def _wrong(path: str, line: int, message: str) -> RequestError:
    return RequestError(f"{path}, line {line} {message}", path=path, line=line)


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:120]}...")
