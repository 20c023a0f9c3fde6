"""Convert Arrow tables to polars frames."""

from typing import TYPE_CHECKING

import pyarrow as pa

from featurestore.errors import MissingExtra

if TYPE_CHECKING:
    import polars as pl


def to_polars_frame(table: pa.Table) -> "pl.DataFrame":
    """Convert a table to a frame. Raises: MissingExtra without polars."""
    try:
        # Imported here: an extra, which only callers of this function need.
        import polars as pl  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "polars":
            raise
        raise MissingExtra("polars", "polars", what="a polars frame") from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
