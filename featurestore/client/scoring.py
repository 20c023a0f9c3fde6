"""Score rows on a server: send them in batches, and collect its predictions in order."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa

from featurestore.client.spines import open_rows
from featurestore.dsl.csv_format import Csv
from featurestore.errors import RequestError, brief
from featurestore.records.listings import ModelInfo
from featurestore.spines.file_format import with_format
from featurestore.values import frames

PREDICTION = "prediction"
ROWS = 1_000
"""Rows per request, whose JSON body is far below the server's limit."""
ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")


def parse_address(model_uri: Any) -> re.Match[str]:
    """The name and the version or alias of a registered model. Raises: RequestError for another URI."""
    address = ADDRESS.fullmatch(model_uri) if isinstance(model_uri, str) else None
    if address is None:
        raise RequestError(
            f"model_uri={brief(model_uri)}: a server scores registered models only; write models:/name/1 or models:/name@alias",
            field="model_uri",
        )
    return address


def read_rows(spine: Any, at: Any, format: Csv | None) -> pa.Table:
    """The rows to score. Raises: RequestError for what only a local store supports: another `at`, a spine of its tables."""
    if at != "online":
        raise RequestError(
            f"at={brief(at)}: a server scores with the newest features only: give at='online' (add --at online), or use a local store",
            field="at",
        )
    text = os.fspath(spine).strip() if isinstance(spine, str | os.PathLike) else ""
    if text.startswith("iceberg:") or frames.is_query(text):
        raise RequestError(
            "a server scores rows that are sent to it: give a spine in files or a frame; a local store takes tables and SQL", field="spine"
        )
    with open_rows(with_format(spine, format)) as rows:
        table = rows.read_all() if isinstance(rows, pa.RecordBatchReader) else rows
    if PREDICTION in table.schema.names:
        raise RequestError(
            f"the spine has a column '{PREDICTION}', which is the name of the column for predictions; rename it", field=PREDICTION
        )
    return table


def find_model(models: Sequence[ModelInfo], address: re.Match[str]) -> ModelInfo | None:
    """The model of an address among those that were logged with a training set; None if it was not."""
    for model in models:
        if model.model == address["name"] and (model.version == address["version"] or address["alias"] in model.aliases):
            return model
    return None


def batches(rows: pa.Table, taken: Collection[str] | None) -> Iterator[list[dict[str, Any]]]:
    """The records to send, at most ROWS at once: only the columns `taken`, None: all; the others stay beside the predictions."""
    sent = rows if taken is None else rows.select([name for name in rows.schema.names if name in taken])
    return (batch.to_pylist() for batch in sent.to_batches(ROWS))


def append_predictions(rows: pa.Table, predictions: list[Any]) -> pa.Table:
    """The rows with their predictions."""
    return rows.append_column(PREDICTION, pa.array(predictions))
