"""Arrow tables as pandas frames in which NULL costs no digits."""

from typing import TYPE_CHECKING

import pyarrow as pa

from featurestore.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: pa.Table, numpy: bool = False) -> "pd.DataFrame":
    """The table as a frame: integers and booleans that hold NULL are of pandas' nullable types, with `numpy` of numpy's.

    As float64 an integer beyond 2**53 would be another one, and a boolean would be an object. The rows are the same otherwise.
    Raises: MissingExtra without pandas.
    """
    try:
        # Here and not above: most of what is imported has no use for pandas.
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
    return frame
