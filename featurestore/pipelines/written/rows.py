"""The rows of a write, converted to the types of the table and checked: every error names the row, counted from 0, and the column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError, near
from featurestore.records.written_tables import WrittenTable
from featurestore.spines.columns import plain_arrow_type
from featurestore.spines.given_columns import FRAME, checked_times, convert_column, given_columns, without_null
from featurestore.values.coercion import quote_value
from featurestore.values.value_types import ZONED

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
    read = given_columns(frame, [*written.keys, *([written.timestamp] if written.timestamp else [])])
    _check_names(list(read), written)
    columns: dict[str, pa.ChunkedArray] = {}
    for key in written.keys:
        columns[key] = without_null(convert_column(read[key], key, written.applied.columns[key]), f"the key column '{key}'")
    if written.timestamp is None:
        columns[_TIME] = pa.chunked_array([pa.nulls(len(columns[written.keys[0]]), plain_arrow_type(ZONED))])
    else:
        columns[_TIME] = checked_times(convert_column(read[written.timestamp], written.timestamp, ZONED), written.timestamp, now)
    present = [name for name in written.features if name in read]
    columns |= {name: convert_column(read[name], name, written.features[name]) for name in present}
    _refuse_repeated(columns, [*written.keys, *([] if written.timestamp is None else [_TIME])], written)
    return GivenRows(pa.table(columns), tuple(name for name in written.features if name not in present))


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
