"""The answer to an online lookup, and its forms: JSON, Arrow tables and streams, frames."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from featurestore.pipelines.online_lookup import lookup_arrow
from featurestore.values import json_encoding, times
from featurestore.values.pandas_frames import to_frame
from featurestore.values.polars_frames import to_polars_frame
from featurestore.values.value_types import FLOATING

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

PRESENT, NOT_FOUND, EXPIRED, STALE = "PRESENT", "NOT_FOUND", "EXPIRED", "STALE"


@dataclass(frozen=True)
class OnlineFeatures:
    """One row of feature values for each entity, in the order of the request.

    `status` (PRESENT, NOT_FOUND, EXPIRED, STALE) and `timestamps` (microseconds; None without a row) have, by the label of each view,
    one entry per entity. `snapshots` and `watermarks` have, by feature table, the published snapshot and watermark (microseconds); None if
    nothing was published yet.
    """

    features: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    status: Mapping[str, tuple[str, ...]]
    timestamps: Mapping[str, tuple[int | None, ...]]
    snapshots: Mapping[str, int | None]
    watermarks: Mapping[str, int | None]
    types: tuple[str | None, ...]
    """The DuckDB type of each feature; None for a derived one."""
    derived_types: tuple[str, ...] = ()
    """The DuckDB types of the derived features; empty if no entities were requested."""
    edition: int | None = None
    """The number of the newest publish that any of the values are from. Views that were materialized in one run were published as one
    edition, and an answer has all of it or nothing. None if nothing was published yet, or by an older release.
    """
    at: int | None = field(default=None, compare=False)
    """The time of the lookup in microseconds, against which ttl and staleness were checked; None in an answer of a server."""
    policies: str | None = field(default=None, compare=False)
    """The digest of the policies in force on the rows for whoever looked them up; None if there were none, and in an answer of a server."""

    def to_dict(self, full: bool = True) -> dict[str, Any]:
        """The HTTP body: Python values, times as RFC 3339, snapshot ids as text.

        `full` False omits types, status and timestamps.
        """
        return {**self._body(full), "rows": [list(row) for row in self.rows]}

    def to_json(self, full: bool = True) -> bytes:
        """The HTTP body as JSON."""
        rows = json_encoding.dumps(self.rows, suspected=self._may_not_be_finite)
        return orjson.dumps({**self._body(full), "rows": orjson.Fragment(rows)})

    def _body(self, full: bool) -> dict[str, Any]:
        body = self._head()
        if full:
            body |= self._types()
            body["status"] = {label: list(states) for label, states in self.status.items()}
            # Each distinct time is formatted once: on a grid, many rows have the same.
            texts = times.texts(chain.from_iterable(self.timestamps.values()))
            body["timestamps"] = {label: [texts[at] for at in all] for label, all in self.timestamps.items()}
        return body

    def _head(self) -> dict[str, Any]:
        """What holds for all rows. The rows get their place in the JSON document here."""
        return {
            "features": list(self.features),
            "rows": None,
            "snapshots": {table: None if snapshot is None else str(snapshot) for table, snapshot in self.snapshots.items()},
            "watermarks": {table: times.text(through) for table, through in self.watermarks.items()},
            "edition": None if self.edition is None else str(self.edition),
        }

    def _types(self) -> dict[str, Any]:
        types: dict[str, Any] = {"types": list(self.types)}
        if self.derived_types:
            types["derived_types"] = list(self.derived_types)
        return types

    def _may_not_be_finite(self) -> bool:
        """False if no float is NaN or infinite. Faster than checking each value."""
        types = [*(sql_type for sql_type in self.types if sql_type is not None), *self.derived_types]
        floats = [index for index, sql_type in enumerate(types) if sql_type in FLOATING]
        if any("DOUBLE" in sql_type or "FLOAT" in sql_type for sql_type in types if sql_type not in FLOATING):
            return True
        if not floats:
            return False
        # The first index is repeated, so that itemgetter returns a tuple also for a single column.
        cells = map(itemgetter(floats[0], *floats), self.rows)
        # NaN and infinity propagate to the sum. filter drops NULL and 0.0; an overflow only causes an unnecessary check of each value.
        return not isfinite(sum(map(sum, map(partial(filter, None), cells))))

    def to_arrow(self) -> pa.Table:
        """The feature values as a table, one row for each entity, with the types that `point_in_time` gives them."""
        return pa.table(lookup_arrow.feature_columns(self.features, self.types, self.derived_types, self.rows))

    def to_arrow_stream(self, full: bool = True) -> bytes:
        """The HTTP body as an Arrow IPC stream of one batch.

        After the features, each view has a column `__fs_status.<label>` of texts and a column `__fs_timestamp.<label>` of UTC
        microseconds; `full` False omits them. The schema's metadata has, under `featurestore`, the rest of the JSON body.
        """
        columns = lookup_arrow.feature_columns(self.features, self.types, self.derived_types, self.rows)
        head = {name: value for name, value in (self._head() | self._types()).items() if name != "rows"}
        if full:
            columns |= lookup_arrow.view_columns(self.status, self.timestamps)
        return lookup_arrow.write_stream(columns, head)

    def to_pandas(self, *, numpy: bool = False) -> "pd.DataFrame":
        """The feature values as a DataFrame, one row for each entity, with the types of a training set's `to_pandas`; needs pandas.

        Integers and booleans with NULL become pandas' `Int64` and `boolean`, or with `numpy` float64 and object. Raises: MissingExtra
        without pandas.
        """
        return to_frame(self.to_arrow(), numpy)

    def to_polars(self) -> "pl.DataFrame":
        """The feature values as a polars DataFrame, one row for each entity; needs polars. Raises: MissingExtra without polars."""
        return to_polars_frame(self.to_arrow())


def newest_edition(editions: Iterable[int | None]) -> int | None:
    """The edition of an answer: the newest of its tables' editions. All are from one state of the store, so it changes if any does."""
    return max((edition for edition in editions if edition is not None), default=None)
