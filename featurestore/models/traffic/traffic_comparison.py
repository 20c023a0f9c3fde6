"""Compare what shared a model's traffic, from its logged predictions: by alias, version, and whether it was a shadow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.granted import Granted
from featurestore.models.prediction_log.log import flush_file
from featurestore.models.predictions import inference
from featurestore.models.stamps import store_access
from featurestore.models.traffic import arm_metrics, labels
from featurestore.pipelines.lineage.traffic import find_traffic
from featurestore.pipelines.lineage.traffic_comparison import ArmComparison, Estimate, TrafficComparison
from featurestore.spines.columns import plain_arrow_type
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.arguments import check_name, naming

MOST_ROWS = 1_000_000
"""Predictions that are compared at once, in memory."""
FACTS = ("request_id", "row_number", "predicted_at", "version", "arm", "shadow", "training_set")
ARM = ("arm", "version", "shadow")
Head = tuple[str | None, str | None, bool, int, datetime, datetime]
"""The alias, version and role of an arm, its rows, and the times of the first and the last."""
NUMBER = "__fs_number"
_EMPTY = pa.schema([inference.SCHEMA.field(name) for name in FACTS]).empty_table()
FEW = 20
"""Up to so many distinct whole numbers are classes."""


def compare_traffic(
    store: FeatureStore,
    model: str,
    since: datetime | str | None = None,
    labels_source: Any = None,
    label: str | None = None,
    timestamp: str | None = None,
) -> TrafficComparison:
    """The logged predictions of each arm, as `FeatureStore.compare_traffic`."""
    name = check_name(model, "name")
    start = None if since is None else times.parse(since, "since")
    if labels_source is None and (label is not None or timestamp is not None):
        raise RequestError("labels: label= and timestamp= name columns of labels=, which is missing", field="labels")
    if labels_source is not None and label is None:
        raise RequestError("label: give the name of the column of labels= with the label", field="label")
    logged = _read(store, name, start)
    matched, how = None, None
    if labels_source is not None and label is not None and logged.rows.num_rows:
        with naming("labels"):
            read = store_access.read_spine_rows(store, labels_source, [] if timestamp is None else [timestamp])
        matched, how = labels.match_labels(logged.identities(), list(logged.keys), read, label, timestamp)
    begin = None if start is None else times.moment(start)
    return TrafficComparison(name, begin, arm_metrics.CONFIDENCE, tuple(_arms(logged, matched)), how)


@dataclass(frozen=True)
class _Logged:
    """Logged predictions; `keys` are the columns of entity keys by their names, `predictions` those of predictions, one for each type."""

    rows: pa.Table
    keys: Mapping[str, str]
    predictions: Sequence[str]

    def identities(self) -> dict[str, pa.ChunkedArray]:
        """What identifies each row to labels."""
        facts = {name: self.rows[name] for name in (*labels.REQUEST, labels.PREDICTED_AT)}
        return {**facts, **{name: self.rows[column] for name, column in self.keys.items()}}


def _read(store: FeatureStore, model: str, since: int | None) -> _Logged:
    """The logged predictions of a model. Raises: NotFound; RequestError if there are too many."""
    runtime = store_access.runtime_of(store)
    flush_file(store)
    table = tables.find(runtime.catalog, inference.inference_table(runtime, model))
    if table is None:
        find_traffic(runtime, model)
        return _Logged(_EMPTY, {}, ())
    log = runtime.operator.grant(table)
    known = {field.name: field.type for field in tables.arrow_schema(table)}
    key_types = _key_types(store, log, model, since)
    keys = {name: inference.column_of(name, plain_arrow_type(sql_type), known) for name, sql_type in key_types.items()}
    keys = {name: column for name, column in keys.items() if column in known}
    predictions = [name for name, kind in known.items() if inference.column_of(inference.PREDICTION, kind, known) == name]
    columns = list(dict.fromkeys([*(name for name in FACTS if name in known), *keys.values(), *predictions]))
    batches, count = [], 0
    for batch in _since(log, columns, model, since):
        count += batch.num_rows
        if count > MOST_ROWS:
            raise RequestError(f"since: there are over {MOST_ROWS:,} predictions; give a later time", field="since")
        batches.append(batch)
    return _Logged(_with_missing(pa.Table.from_batches(batches)), keys, predictions) if batches else _Logged(_EMPTY, {}, ())


def _since(log: Granted, columns: Sequence[str], model: str, since: int | None) -> Iterator[pa.RecordBatch]:
    for batch in scans.read_snapshot(log, log.table.snapshot_id, columns=[*columns, "model"]):
        chosen = pc.equal(batch.column("model"), model)
        if since is not None:
            chosen = pc.and_(chosen, pc.greater_equal(batch.column("predicted_at"), pa.scalar(since, pa.timestamp("us", tz="UTC"))))
        yield batch.filter(chosen)


def _key_types(store: FeatureStore, log: Granted, model: str, since: int | None) -> dict[str, str]:
    """The entity keys that all versions with predictions have, with their types."""
    ids: set[str | None] = set()
    for batch in _since(log, ["training_set", "predicted_at"], model, since):
        ids.update(pc.unique(batch.column("training_set")).to_pylist())
    key_types: list[set[tuple[str, str]]] = []
    for id in sorted(id for id in ids if id is not None):
        # A training set that was removed says nothing of its keys any more.
        with suppress(NotFound):
            key_types.append(set(store.get_training_set(id).plan.key_types.items()))
    return dict(sorted(set.intersection(*key_types))) if key_types else {}


def _with_missing(rows: pa.Table) -> pa.Table:
    """With NULL, and False for `shadow`, in columns that tables of earlier releases lack."""
    for name in FACTS:
        if name not in rows.schema.names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, inference.SCHEMA.field(name).type))
    shadow = pc.fill_null(rows["shadow"], False)
    return rows.set_column(rows.schema.get_field_index("shadow"), "shadow", shadow)


def _arms(logged: _Logged, matched: pa.ChunkedArray | None) -> Iterator[ArmComparison]:
    numbered = logged.rows.select(ARM).append_column(NUMBER, pa.array(np.arange(logged.rows.num_rows)))
    groups = numbered.group_by(list(ARM), use_threads=False).aggregate([(NUMBER, "list")]).to_pylist()
    for group in sorted(groups, key=lambda group_keys: (group_keys["shadow"], group_keys["arm"] or "", int(group_keys["version"] or 0))):
        numbers = pa.array(group[f"{NUMBER}_list"], pa.int64())
        values = _values(logged.rows.select(logged.predictions).take(numbers))
        bounds = pc.min_max(logged.rows["predicted_at"].take(numbers)).as_py()
        head = (group["arm"], group["version"], group["shadow"], len(numbers), bounds["min"], bounds["max"])
        yield _arm(head, values, [] if matched is None else matched.take(numbers).to_pylist())


def _arm(head: Head, values: list[Any], labels: list[Any]) -> ArmComparison:
    """The comparison of an arm with these predictions and labels, None for rows without one."""
    numbers = _as_numbers(values)
    if numbers is None or _are_classes(values):
        pairs = [(label, value) for label, value in zip(labels, values, strict=bool(labels)) if label is not None and value is not None]
        metrics = arm_metrics.class_metrics([label for label, _ in pairs], [value for _, value in pairs])
        return ArmComparison(*head, shares=arm_metrics.shares_of(values), labeled=len(pairs), metrics=metrics)
    finite = numbers[np.isfinite(numbers)]
    usable = [place for place, label in enumerate(labels) if label is not None and np.isfinite(numbers[place])]
    return ArmComparison(
        *head,
        mean=arm_metrics.mean_of(finite),
        quantiles=arm_metrics.quantiles_of(finite),
        labeled=len(usable),
        metrics=_metrics([labels[place] for place in usable], numbers[usable]),
    )


def _metrics(labels: list[Any], numbers: np.ndarray) -> Mapping[str, Estimate]:
    """The metrics that numbers have for labels of this type."""
    if all(isinstance(label, bool) or label in (0, 1) for label in labels):
        return arm_metrics.probability_metrics(np.array(labels, bool), numbers)
    if all(isinstance(label, int | float | Decimal) for label in labels):
        return arm_metrics.number_metrics(np.array(labels, np.float64), numbers)
    return {}


def _values(columns: pa.Table) -> list[Any]:
    """The prediction of each row, from the column of its type; of two values the second."""
    values: list[Any] = [None] * columns.num_rows
    for column in columns.columns:
        for place, value in enumerate(column.to_pylist()):
            if value is not None:
                values[place] = value[1] if isinstance(value, list) and len(value) == 2 else value
    return values


def _as_numbers(values: list[Any]) -> np.ndarray | None:
    """Predictions as doubles, NaN for none; None if some are no numbers."""
    if not all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return None
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _are_classes(values: list[Any]) -> bool:
    return all(isinstance(value, int) for value in values if value is not None) and len(set(values)) <= FEW
