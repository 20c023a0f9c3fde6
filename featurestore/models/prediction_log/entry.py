"""An entry of the spool: the predictions of one request, encoded as msgpack in microseconds, and decoded to Arrow when they are logged."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from featurestore.models.frames.outputs import to_column_or_json
from featurestore.models.predictions.inference import MOMENT, PREDICTION, LoggedModel, PredictionRows, facts_of, plain_values, repeat_value
from featurestore.spines.columns import plain_arrow_type
from featurestore.values import json_encoding
from featurestore.values.coercion import coerce
from featurestore.values.value_types import FLOATING, INTEGERS, ZONED

_AS_THEY_ARE = frozenset({"BOOLEAN", "VARCHAR", "BLOB", "UUID", ZONED, *FLOATING, *INTEGERS})
"""Types whose values msgpack keeps; values of others are texts, and converted again."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """The predictions of one request by one version. `layout` and `pins` are numbers of the spool's documents.

    `at` is the time of the lookup and `predicted_at` that after the prediction, in microseconds. `rows` are the numbers of the rows in
    the request; None: all, in order. `overridden` has the features that the caller sent, by row; None: none. `statuses` and `values` have
    a list with an item for each row. `predictions_json`: the predictions are JSON texts, since their values have no other form.
    `policies` is the digest of the policies in force for whoever asked; None: none.
    """

    layout: int
    pins: int
    request_id: str
    arm: str | None
    shadow: bool
    at: int
    predicted_at: int
    edition: int | None
    rows: Sequence[int] | None
    overridden: Sequence[Sequence[str]] | None
    parameters: str | None
    statuses: Mapping[str, Sequence[str]]
    derived_types: Mapping[str, str]
    values: Sequence[Sequence[Any]]
    predictions: Sequence[Any]
    predictions_json: bool = False
    policies: str | None = None


def _encode_other(value: Any) -> Any:
    """The form of a value of a type that msgpack lacks: the Python value of a scalar of numpy, text for all others."""
    return value.item() if hasattr(value, "item") else json_encoding.plain(value)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_DECODER = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The entry as msgpack."""
    try:
        return _ENCODER.encode(entry)
    except (OverflowError, TypeError, ValueError):
        texts = [json.dumps(value, default=str) for value in entry.predictions]
        return _ENCODER.encode(msgspec.structs.replace(entry, predictions=texts, predictions_json=True))


def decode(body: bytes) -> Entry:
    """The entry that `encode` wrote."""
    return _DECODER.decode(body)


def to_rows(model: LoggedModel, pins: str, entries: Sequence[Entry]) -> PredictionRows:
    """The rows of entries of one layout, one set of snapshots and equal `kind_of`, in order.

    Raises: TypeMismatch, pa.ArrowException or OverflowError for values that do not fit the types of the layout.
    """
    counts = [len(entry.predictions) for entry in entries]
    count = sum(counts)
    facts = {
        **facts_of(model, count),
        "request_id": _spread([entry.request_id for entry in entries], counts, pa.string()),
        "row_number": pa.array([row for entry, rows in zip(entries, counts, strict=True) for row in entry.rows or range(rows)], pa.int32()),
        "arm": _spread([entry.arm for entry in entries], counts, pa.string()),
        "shadow": _spread([entry.shadow for entry in entries], counts, pa.bool_()),
        "predicted_at": _spread([entry.predicted_at for entry in entries], counts, pa.int64()).cast(MOMENT),
        "as_of": _spread([entry.at for entry in entries], counts, pa.int64()).cast(MOMENT),
        "overridden": pa.array(
            [names for entry, rows in zip(entries, counts, strict=True) for names in entry.overridden or [()] * rows],
            pa.list_(pa.string()),
        ),
        "parameters": _spread([entry.parameters for entry in entries], counts, pa.string()),
        "snapshots": repeat_value(pins, count),
        "statuses": _statuses(entries, counts),
        "edition": _spread([entry.edition for entry in entries], counts, pa.int64()),
        "policies_digest": _spread([entry.policies for entry in entries], counts, pa.string()),
    }
    types = [sql_type or entries[0].derived_types.get(name) for name, sql_type in model.columns]
    # Each entry is read once: they are more than the processor's cache holds.
    columns = [list(chain.from_iterable(values)) for values in zip(*(entry.values for entry in entries), strict=True)]
    values = {
        name: plain_values(_column(column, sql_type, name))
        for (name, _), column, sql_type in zip(model.columns, columns, types, strict=True)
    }
    predictions = plain_values(to_column_or_json(list(chain.from_iterable(entry.predictions for entry in entries))))
    return PredictionRows(facts, {**values, PREDICTION: predictions})


def kind_of(entry: Entry) -> tuple[Any, ...]:
    """What entries must have in common to be converted together: the types of derived features and of predictions."""
    return tuple(entry.derived_types.items()), frozenset(map(type, entry.predictions))


def _column(values: Sequence[Any], sql_type: str | None, name: str) -> pa.Array:
    """A column with the type of a DuckDB type; None, for a derived feature: with the type of its values."""
    if sql_type is None:
        return pa.array(values)
    converted = values if sql_type in _AS_THEY_ARE else [coerce(value, sql_type, name) for value in values]
    try:
        return pa.array(converted, plain_arrow_type(sql_type))
    except (KeyError, pa.ArrowException):
        # The caller may send a derived feature of another type than the computed one.
        return pa.array(values)


def _statuses(entries: Sequence[Entry], counts: Sequence[int]) -> pa.Array:
    """The status of each row by view, as JSON; NULL for those of entries without any."""
    texts: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    column: list[str | None] = []
    for entry, rows in zip(entries, counts, strict=True):
        if not entry.statuses:
            column += [None] * rows
            continue
        labels = tuple(entry.statuses)
        for states in zip(*entry.statuses.values(), strict=True):
            text = texts.get((labels, states))
            if text is None:
                text = texts[labels, states] = json.dumps(dict(zip(labels, states, strict=True)), separators=(",", ":"))
            column.append(text)
    return pa.array(column, pa.string())


def _spread(values: Sequence[Any], counts: Sequence[int], arrow_type: pa.DataType) -> pa.Array:
    """A column with the value of each entry in each of its rows."""
    return pa.array(values, arrow_type).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
