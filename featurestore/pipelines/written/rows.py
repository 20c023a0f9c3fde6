"""The rows of a write, converted to the types of the table and checked: every error names the row, counted from 0, and the column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError, TypeMismatch, near
from featurestore.records.written_tables import WrittenTable
from featurestore.spines.columns import plain_arrow_type
from featurestore.values import frames, times
from featurestore.values.coercion import coerce, quote_value
from featurestore.values.storable import unstorable_values
from featurestore.values.value_types import ZONED

FRAME = "the frame"
Values: TypeAlias = "pa.ChunkedArray | list[Any]"
_TIME = "feature_timestamp"
_ROW = "__fs_row"


@dataclass(frozen=True)
class GivenRows:
    """The rows of a write: keys, feature_timestamp, and features. In a table without a timestamp column, the times are not set yet.

    `lacking` are the features that the caller's rows do not have; `table` has no columns for them.
    """

    table: pa.Table
    lacking: tuple[str, ...]

    @property
    def ends(self) -> tuple[int, int] | None:
        """The first and the last feature_timestamp in microseconds; None without rows."""
        ends = pc.min_max(self.table.column(_TIME).cast(pa.int64())).as_py()
        return None if ends["min"] is None else (ends["min"], ends["max"])

    @property
    def months(self) -> int:
        """The number of distinct months of the rows."""
        column = self.table.column(_TIME)
        return max(1, len(pc.unique(pc.add(pc.multiply(pc.year(column), 12), pc.month(column)))))

    def at(self, moment: int) -> "GivenRows":
        """The same rows with this feature_timestamp, in microseconds."""
        index = self.table.schema.get_field_index(_TIME)
        column = pa.repeat(pa.scalar(moment, pa.int64()), self.table.num_rows).cast(pa.timestamp("us", tz="UTC"))
        return GivenRows(self.table.set_column(index, _TIME, column), self.lacking)


def read_rows(frame: Any, written: WrittenTable, now: int) -> GivenRows:
    """Read a frame, Arrow data or a list of dicts.

    Raises: RequestError for a missing, unknown or repeated column, a NULL key or time, a time after `now` (microseconds), and two rows
    with the same keys and time; TypeMismatch for a value that does not fit its column.
    """
    read = _given_columns(frame, written)
    _check_names(list(read), written)
    columns: dict[str, pa.ChunkedArray] = {}
    for key in written.keys:
        columns[key] = _without_null(_convert(read[key], key, written.applied.columns[key]), f"the key column '{key}'")
    if written.timestamp is None:
        columns[_TIME] = pa.chunked_array([pa.nulls(len(columns[written.keys[0]]), plain_arrow_type(ZONED))])
    else:
        columns[_TIME] = _checked_times(_convert(read[written.timestamp], written.timestamp, ZONED), written.timestamp, now)
    present = [name for name in written.features if name in read]
    columns |= {name: _convert(read[name], name, written.features[name]) for name in present}
    _refuse_repeated(columns, [*written.keys, *([] if written.timestamp is None else [_TIME])], written)
    return GivenRows(pa.table(columns), tuple(name for name in written.features if name not in present))


def _given_columns(frame: Any, written: WrittenTable) -> dict[str, Values]:
    """The columns of a frame. Of a list of dicts, the values as they are, so that each is converted to the type of its column alone."""
    if isinstance(frame, list):
        # An empty list has no columns.
        needed = [*written.keys, *([written.timestamp] if written.timestamp else [])]
        return dict(frames.rows_to_columns(frame, FRAME)) if frame else {name: [] for name in needed}
    table = frames.to_arrow_table(frame, FRAME)
    if table is None:
        raise RequestError(f"{FRAME} is text; give {frames.MEMORY}", field="frame")
    if repeated := sorted({column for column in table.schema.names if table.schema.names.count(column) > 1}):
        raise RequestError(f"{FRAME} has more than one column called {', '.join(map(repr, repeated))}", field=repeated[0])
    return dict(zip(table.schema.names, table.columns, strict=True))


def _check_names(names: Sequence[str], written: WrittenTable) -> None:
    name = written.view.name
    known = [*written.keys, *([written.timestamp] if written.timestamp else []), *written.features]
    for column in names:
        if not isinstance(column, str):
            raise RequestError(f"{FRAME} has a column called {quote_value(column)}; names must be text", field="frame")
        if column not in known:
            raise RequestError(
                f"{FRAME} has a column '{column:.128}', which table {name} does not have{near(column, known)}; create_table adds columns",
                field=column,
            )
    for role, columns in (("key", written.keys), ("timestamp", [written.timestamp] if written.timestamp else [])):
        for column in columns:
            if column not in names:
                raise RequestError(f"{FRAME} has no {role} column '{column}', which table {name} needs{near(column, names)}", field=column)


def _convert(column: Values, name: str, sql_type: str) -> pa.ChunkedArray:
    """The column in the type of the table: at once where Arrow does that exactly, else value by value. NaN of a frame is NULL."""
    target = plain_arrow_type(sql_type)
    converted = None if isinstance(column, list) else _convert_at_once(_decode(column), target, sql_type)
    if converted is None:
        converted = _convert_by_value(column, name, target, sql_type)
    if (unstorable := unstorable_values(converted)) is not None:
        raise TypeMismatch(f"column '{name}' of {FRAME} holds {unstorable}, which cannot be stored", field=name)
    return converted


def _decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    plain = isinstance(column.type, pa.UuidType) or not isinstance(column.type, pa.BaseExtensionType)
    return column if plain else column.cast(column.type.storage_type)


def _convert_at_once(column: pa.ChunkedArray, target: pa.DataType, sql_type: str) -> pa.ChunkedArray | None:
    source, is_ = column.type, pa.types
    if (source == target and sql_type != "UUID") or is_.is_null(source):
        return column.cast(target)
    numbers = is_.is_integer(source) and (is_.is_integer(target) or is_.is_float64(target))
    texts = sql_type == "VARCHAR" and (is_.is_large_string(source) or is_.is_string_view(source))
    binaries = sql_type == "BLOB" and (is_.is_large_binary(source) or is_.is_binary_view(source))
    widened = is_.is_float32(source) and is_.is_float64(target)
    if is_.is_timestamp(source) and sql_type == ZONED:
        return _micros(column)
    if not (numbers or texts or binaries or widened):
        return None
    try:
        return column.cast(target)
    except pa.ArrowInvalid:
        return None


def _micros(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Times in UTC microseconds, floored; None if one lies beyond what microseconds count, so that the slow way names it."""
    unit, zone = column.type.unit, column.type.tz
    if zone is not None:
        column = column.cast(pa.timestamp(unit, tz="UTC")).cast(pa.timestamp(unit))
    if unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    try:
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return None


def _convert_by_value(column: Values, name: str, target: pa.DataType, sql_type: str) -> pa.ChunkedArray:
    try:
        values = column if isinstance(column, list) else column.to_pylist()
    except (OverflowError, ValueError) as error:
        raise TypeMismatch(f"column '{name}' of {FRAME} holds a time outside the years 1 to 9999", field=name) from error
    coerced = [coerce(value, sql_type, f"row {row} of {FRAME}, column '{name}'") for row, value in enumerate(values)]
    if sql_type == "UUID":
        coerced = [None if value is None else str(value) for value in coerced]
    return pa.chunked_array([pa.array(coerced, target)])


def _without_null(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise RequestError(f"row {row} of {FRAME} has NULL in {what}; leave such rows out", row=row)
    return column


def _checked_times(column: pa.ChunkedArray, name: str, now: int) -> pa.ChunkedArray:
    _without_null(column, f"the timestamp column '{name}'")
    late = pc.greater(column.cast(pa.int64()), now)
    if pc.any(late).as_py():
        row = pc.index(late, True).as_py()
        raise RequestError(
            f"row {row} of {FRAME} has {times.text(column[row].cast(pa.int64()).as_py())} in '{name}', which is in the future: online, the"
            " newest row is the current one. Leave future rows out",
            row=row,
            field=name,
        )
    return column


def _refuse_repeated(columns: Mapping[str, pa.ChunkedArray], identity: Sequence[str], written: WrittenTable) -> None:
    """Raises: RequestError naming the first two rows that share the columns that identify a row."""
    numbers = pa.chunked_array([pa.array(range(len(columns[identity[0]])), pa.int64())])
    rows = pa.table({**{name: columns[name] for name in identity}, _ROW: numbers})
    counted = rows.group_by(list(identity)).aggregate([(_ROW, "count"), (_ROW, "min")])
    repeated = counted.filter(pc.greater(counted.column(f"{_ROW}_count"), 1))
    if not repeated.num_rows:
        return
    first = repeated.sort_by(f"{_ROW}_min").slice(0, 1).to_pylist()[0]
    same = [pc.equal(rows.column(name), pa.scalar(first[name], rows.schema.field(name).type)) for name in identity]
    both = rows.filter(reduce(pc.and_, same)).column(_ROW).to_pylist()[:2]
    shown = ", ".join(f"{written.timestamp if name == _TIME else name}={quote_value(first[name])}" for name in identity)
    raise RequestError(
        f"rows {both[0]} and {both[1]} of {FRAME} have the same {shown}; give one row for each", rows=both, table=written.view.name
    )
