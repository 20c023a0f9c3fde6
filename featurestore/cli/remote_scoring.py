"""`score --url`: send the rows of a file to a server in batches, and collect its predictions in order."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa

from featurestore.client.spines import read_files
from featurestore.dsl.csv_format import Csv
from featurestore.errors import RequestError
from featurestore.spines.file_format import with_format
from featurestore.values import frames

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore

PREDICTION = "prediction"
ROWS = 1_000
"""Rows per request, whose JSON body is far below the server's limit."""
ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")


def score_on_server(store: "RemoteStore", model_uri: str, spine: str, at: str | None, written: Csv | None) -> pa.Table:
    """The spine's rows with a column `prediction`, computed by the server with the newest features of its online store.

    Raises: RequestError for what only a local store supports: another `at`, another form of URI, a spine that is not in files.
    """
    if at != "online":
        raise RequestError("a server scores with the newest features only: add --at online, or score without --url", field="at")
    address = ADDRESS.fullmatch(model_uri)
    if address is None:
        raise RequestError(
            f"{model_uri!r}: a server scores registered models only; write models:/name/1 or models:/name@alias", field="model_uri"
        )
    if spine.startswith("iceberg:") or frames.is_query(spine):
        raise RequestError("--url needs a spine in files; score tables and SQL without --url", field="spine")
    with_format(spine, written)
    with read_files(spine, written) as reader:
        rows = reader.read_all()
    if PREDICTION in rows.schema.names:
        raise RequestError(
            f"the spine has a column '{PREDICTION}', which is the name of the column for predictions; rename it", field=PREDICTION
        )
    taken = _taken(store, address)
    # What else is in the file stays beside its prediction, as at home.
    sent = rows if taken is None else rows.select([name for name in rows.schema.names if name in taken])
    predictions: list[object] = []
    for batch in sent.to_batches(ROWS):
        answer = store.predict(address["name"], batch.to_pylist(), address["version"], address["alias"])
        predictions.extend(answer["predictions"])
    return rows.append_column(PREDICTION, pa.array(predictions))


def _taken(store: "RemoteStore", address: re.Match[str]) -> Collection[str] | None:
    """The keys, request fields and features of the service that the model was trained with; None of a model that nobody logged here."""
    for model in store.models():
        if model.model == address["name"] and (model.version == address["version"] or address["alias"] in model.aliases):
            plan = store.get_training_set(model.training_set).plan
            return {*plan.entity_columns, *(name for name, _ in plan.request), *plan.feature_names}
    return None
