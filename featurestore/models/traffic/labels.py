"""Match logged predictions with labels that became known later: by request, or by entity keys and time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError, TypeMismatch, near
from featurestore.values.arguments import check_name

REQUEST = ("request_id", "row_number")
PREDICTED_AT = "predicted_at"
AT, NUMBER, ROW = "__fs_at", "__fs_number", "__fs_row"
"""Columns of our own, beside the users'."""


def match_labels(
    predictions: Mapping[str, pa.ChunkedArray], keys: Sequence[str], labels: pa.Table, label: str, timestamp: str | None
) -> tuple[pa.ChunkedArray, str]:
    """The label of each prediction, NULL for one without, and how they were matched.

    `predictions` has `request_id`, `row_number`, `predicted_at` and the key columns. Labels with a column `request_id` are matched by it,
    and by `row_number` if they have that too; others by the keys. With a `timestamp`, a prediction gets the first label of its keys at or
    after it; without, keys must not be repeated. Raises: RequestError naming the column.
    """
    by = [name for name in REQUEST if name in labels.schema.names] if REQUEST[0] in labels.schema.names else list(keys)
    for name in (*by, check_name(label, "label"), *([] if timestamp is None else [check_name(timestamp, "timestamp")])):
        if name not in labels.schema.names:
            raise RequestError(f"the labels have no column '{name}'{near(name, labels.schema.names)}", field=name)
    if not by:
        raise RequestError("the versions have no entity key in common; give labels with a column request_id", field="labels")
    predicted, known = _texts(predictions, by), _texts(labels, by)
    count = len(predicted)
    predicted[NUMBER], known[ROW] = np.arange(count), np.arange(labels.num_rows)
    if timestamp is not None:
        predicted[AT], known[AT] = _moments(predictions[PREDICTED_AT]), _moments(_times(labels, timestamp))
    known = known[pc.is_valid(labels[label]).to_numpy()].dropna()
    predicted = predicted.dropna()
    if timestamp is None:
        matched, how = _by_keys(predicted, known, by)
    else:
        ordered = known.sort_values(AT, kind="stable")
        matched = pd.merge_asof(predicted.sort_values(AT), ordered, on=AT, by=by, direction="forward").dropna(subset=[ROW])
        how = f"by {', '.join(by)}: the first label at or after the prediction, by {timestamp}"
    rows = np.full(count, -1, np.int64)
    rows[matched[NUMBER].to_numpy(np.int64)] = matched[ROW].to_numpy(np.int64)
    return labels[label].take(pa.array(rows, mask=rows < 0)), how


def _by_keys(predicted: pd.DataFrame, known: pd.DataFrame, by: list[str]) -> tuple[pd.DataFrame, str]:
    repeated = known[known.duplicated(by)]
    if len(repeated):
        shown = ", ".join(f"{name}={repeated.iloc[0][name]}" for name in by)
        raise RequestError(f"there are several labels of {shown}; give timestamp=, the column with their time", field="timestamp")
    return predicted.merge(known, on=by, how="inner"), f"by {', '.join(by)}"


def _texts(rows: Mapping[str, pa.ChunkedArray] | pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Columns as text: the same key may have other types in other tables."""
    try:
        return pd.DataFrame({name: rows[name].cast(pa.string()).to_pandas().astype(object) for name in names})
    except pa.ArrowException as error:
        raise TypeMismatch(f"the columns {', '.join(names)} cannot be compared as text", reason=str(error)) from error


def _times(labels: pa.Table, timestamp: str) -> pa.ChunkedArray:
    column = labels[timestamp]
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column
    raise TypeMismatch(f"timestamp: the column '{timestamp}' of the labels is {column.type}, not a time", field=timestamp)


def _moments(column: pa.ChunkedArray) -> "pd.Series[pd.Timestamp]":
    """UTC times in microseconds; those without a zone are in UTC."""
    moments: pd.Series[pd.Timestamp] = column.cast(pa.timestamp("us", tz="UTC")).to_pandas().astype("datetime64[us, UTC]")
    return moments
