"""Convert Arrow tables to pandas frames without losing digits of columns with NULL."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: pa.Table, numpy: bool = False) -> "pd.DataFrame":
    """Convert a table to a frame; integers and booleans with NULL get pandas' nullable types, or numpy's with `numpy`.

    As float64, integers beyond 2**53 would change, and booleans would be objects. Lists of integers with NULL are arrays of objects for
    the same reason.
    Raises: MissingExtra without pandas.
    """
    try:
        # Imported here: most imports of this package do not need pandas.
        import pandas as pd  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise MissingExtra("pandas", "pandas", what="a frame") from error

    frame: pd.DataFrame = table.to_pandas()
    if numpy:
        return frame
    nullable: dict[pa.DataType, object] = {
        pa.bool_(): pd.BooleanDtype(),
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
    }
    for index, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if column.type in nullable and column.null_count:
            frame.isetitem(index, column.to_pandas(types_mapper=nullable.get).rename(name))
        elif _lists_of_integers_with_null(column):
            frame.isetitem(index, _objects(column.to_pylist()))
    return frame


def _lists_of_integers_with_null(column: pa.ChunkedArray) -> bool:
    """Whether a column has lists, possibly nested, of integers with a NULL, which pandas would convert to doubles."""
    inner = column
    while pa.types.is_list(inner.type) or pa.types.is_large_list(inner.type) or pa.types.is_fixed_size_list(inner.type):
        inner = pc.list_flatten(inner)
    return inner is not column and pa.types.is_integer(inner.type) and inner.null_count > 0


def _objects(value: Any) -> Any:
    """A list as numpy's array of objects, as pandas represents lists of booleans with NULL; other values are unchanged."""
    if not isinstance(value, list):
        return value
    result = np.empty(len(value), dtype=object)
    for index, element in enumerate(value):
        result[index] = _objects(element)
    return result


def frame_like(original: Any, table: pa.Table) -> Any:
    """The table as a pandas or polars frame if the original is one, else unchanged."""
    library = type(original).__module__.partition(".")[0]
    if library == "polars":
        import polars as pl  # noqa: PLC0415 - an extra, which is installed if the original is one of its frames

        return pl.from_arrow(table)
    return to_frame(table) if library == "pandas" else table
