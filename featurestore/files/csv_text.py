"""CSV files as text, read here only for what the engine does not tell: the header, and the line of what is wrong."""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.dsl.csv import Csv
from featurestore.errors import RequestError

_ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}
_LONGEST_CELL = 2 << 20
_OTHERS = (";", "\t", "|", ",")
_BOMS = (b"\xff\xfe", b"\xfe\xff")


def header(path: str, written: Csv) -> tuple[str, ...]:
    """The columns of a file as its first line names them, without an empty one at the end. Raises: RequestError naming the file."""
    with _records(path, written) as records:
        names = next((cells for _, cells in records), None)
    if names is None:
        raise _wrong(path, 1, "is empty; its first line must name the columns")
    if len(names) > 1 and not names[-1].strip():
        # A delimiter at the end of each line.
        names = names[:-1]
    if not any(name.strip() for name in names):
        raise _wrong(path, 1, "is empty; the first line of a file must name its columns")
    other = next((mark for mark in _OTHERS if mark != written.delimiter and mark in names[0]), None) if len(names) == 1 else None
    if other is not None:
        advice = f"declare it: format=Csv(delimiter={other!r}, ...)"
        raise _wrong(path, 1, f"has {other!r} between its columns, not {written.delimiter!r}; {advice}")
    held: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise _wrong(path, 1, f"has no name for column {number}")
        if (first := held.setdefault(name.lower(), number)) != number:
            raise _wrong(path, 1, f"has '{name}' for columns {first} and {number}, and case does not tell names apart; rename one")
    return tuple(names)


def line_of(path: str, written: Csv, names: Sequence[str], column: str, text: str) -> int | None:
    """The first line whose record has this text in this column; None where reading it in this way finds none."""
    place = list(names).index(column)
    with _records(path, written) as records:
        next(records, None)
        return next((line for line, cells in records if len(cells) > place and cells[place] == text), None)


def problem(path: str, written: Csv, names: Sequence[str]) -> RequestError | None:
    """What keeps a file from being read as records of these columns, with its line; None where nothing does."""
    try:
        with _records(path, written) as records:
            for line, cells in records:
                extra = cells[len(names) :]
                if len(cells) < len(names) or len(extra) > 1 or any(extra):
                    said = f"has {len(cells)} values where the header names {len(names)} columns: {_short(written.delimiter.join(cells))}"
                    return _wrong(path, line, said)
        return _mixed_ends(path)
    except RequestError as error:
        return error


def _mixed_ends(path: str) -> RequestError | None:
    """The first line that does not end as the lines before do, which the engine does not read."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as raw:
        first: bool | None = None
        for number, line in enumerate(raw, start=1):
            if line.endswith(b"\n"):
                windows = line.endswith(b"\r\n")
                if first is not None and windows != first:
                    ends = ("\\r\\n", "\\n") if windows else ("\\n", "\\r\\n")
                    return _wrong(path, number, f"ends in {ends[0]} and the lines before in {ends[1]}; end all lines in one way")
                first = windows
    return None


@contextmanager
def _records(path: str, written: Csv) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The records of a file with the lines they begin on, less empty lines. Raises: RequestError naming file and line."""
    try:
        with open(path, "rb") as raw:
            begin = raw.read(2)
            raw.seek(0)
            with gzip.open(raw) if path.endswith(".gz") else raw as unpacked:
                if begin in _BOMS and written.encoding == "utf-8":
                    raise _wrong(path, 1, "is UTF-16, not UTF-8; declare it: format=Csv(encoding='utf-16')")
                if written.encoding == "utf-16" and begin not in (b"\xff\xfe", b"") and not path.endswith(".gz"):
                    raise _wrong(path, 1, "does not begin with the mark FF FE of UTF-16 as it can be read; write the file as UTF-8")
                decoded = io.TextIOWrapper(unpacked, encoding=_ENCODINGS[written.encoding], newline="")
                yield _lines(path, written, decoded)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"the file {path} cannot be read: {reason}", path=path) from error


def _lines(path: str, written: Csv, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_CELL)
    double = written.escape == written.quote
    options: dict[str, Any] = {"doublequote": double, "escapechar": None if double else written.escape or None, "strict": True}
    options |= {"quotechar": written.quote} if written.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    records = csv.reader(text, delimiter=written.delimiter, **options)
    line = 1
    while True:
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise _wrong(path, line, f"cannot be read as CSV ({error}); is a quote missing?") from error
        except UnicodeError as error:
            # The reader decodes ahead of the lines that it gives.
            raise _undecoded(path, written, line) from error
        if cells is None:
            return
        if cells:
            yield line, cells
        line = records.line_num + 1


def _undecoded(path: str, written: Csv, line: int) -> RequestError:
    """Find the line whose bytes are not of the encoding."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as raw:
        for number, own in enumerate(raw, start=1):
            try:
                own.decode(_ENCODINGS[written.encoding])
            except UnicodeError:
                line = number
                break
    return _wrong(
        path, line, f"is not {written.encoding}; declare what it is, format=Csv(encoding='latin-1') or 'utf-16', or write the file as UTF-8"
    )


def _wrong(path: str, line: int, said: str) -> RequestError:
    return RequestError(f"{path}, line {line} {said}", path=path, line=line)


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:120]}...")
