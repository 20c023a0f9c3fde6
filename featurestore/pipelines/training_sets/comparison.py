"""Compare two training sets: definitions, rows, values, drift, and what may have caused the differences."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from featurestore.compiler.compared_rows import bin_counts, common_rows, number_bin, numbered_rows, value_bin
from featurestore.compiler.query import Tree
from featurestore.compiler.relations import Handle
from featurestore.engine.results import count, single_row
from featurestore.engine.session import Session
from featurestore.errors import NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.pipelines.training_sets import drift
from featurestore.pipelines.training_sets.column_profile import TOP
from featurestore.pipelines.training_sets.comparison_result import (
    Comparison,
    DefinitionChange,
    FeatureChange,
    FeatureChanges,
    RowCounts,
)
from featurestore.pipelines.training_sets.measures import TEXT, is_number, is_time, scalar_kind
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records import definitions, feature_table
from featurestore.records.definitions import Registry
from featurestore.records.runtime import Runtime
from featurestore.values import times

DECILES = ("10", "20", "30", "40", "50", "60", "70", "80", "90")
"""Numbers and times are binned by the first set's deciles."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """The rows of a training set in a session; `columns` maps its column names to those there."""

    rows: Handle
    columns: dict[str, str]


def compare_training_sets(runtime: Runtime, first: TrainingSet, second: TrainingSet) -> Comparison:
    """The differences of the second training set from the first.

    Raises: RequestError if the key columns differ, so that rows cannot be matched.
    """
    known = definitions.read_registry(runtime)
    keys = _keys(first, second)
    common = [name for name in first.features if name in second.features]
    with runtime.engine.session() as session:
        sides = (_add(session, "a", first, keys[0]), _add(session, "b", second, keys[1]))
        rows, changed = _match_rows(session, sides, keys, common)
        drifts = {name: _drift(session, sides, name, first, second) for name in common}
    because = _reasons(runtime, first, second)
    changes = {
        name: FeatureChange(
            changed[name],
            changed[name] / rows.common if rows.common else None,
            **drifts[name],
            because=tuple(because[name]) if changed[name] else (),
        )
        for name in common
    }
    added = tuple(name for name in second.features if name not in common)
    gone = tuple(name for name in first.features if name not in common)
    return Comparison(first.id, second.id, _definitions(known, first, second), rows, FeatureChanges(added, gone, changes))


def _keys(first: TrainingSet, second: TrainingSet) -> tuple[list[str], list[str]]:
    keys = [list(training_set.plan.entity_columns) for training_set in (first, second)]
    if keys[0] != keys[1]:
        raise RequestError(
            f"cannot compare training sets with different keys: {first.id} has {', '.join(keys[0])}, {second.id} has {', '.join(keys[1])}"
        )
    return [*keys[0], first.timestamp], [*keys[1], second.timestamp]


def _add(session: Session, name: str, training_set: TrainingSet, keys: list[str]) -> Side:
    """Store the rows in a table of the session, with `o` numbering rows of equal keys."""
    columns = {column: f"c{index}" for index, column in enumerate(column["name"] for column in training_set.manifest["columns"])}
    reader = training_set.read()
    schema = pa.schema([*(field.with_name(columns[field.name]) for field in reader.schema), pa.field("n", pa.int64())])
    rows = session.add(f"{name}_once", pa.RecordBatchReader.from_batches(schema, _number_rows(reader, schema)))
    return Side(session.create_table(name, numbered_rows(rows, [columns[key] for key in keys])), columns)


def _number_rows(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in reader:
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(range(rows, rows + batch.num_rows), pa.int64())], schema=schema)
        rows += batch.num_rows


def _match_rows(
    session: Session, sides: tuple[Side, Side], keys: tuple[list[str], list[str]], common: list[str]
) -> tuple[RowCounts, dict[str, int]]:
    """Row counts of each side and of both, and by feature the number of common rows with another value."""
    first, second = sides
    key_pairs = [(first.columns[left], second.columns[right]) for left, right in zip(*keys, strict=True)]
    feature_pairs = [(first.columns[name], second.columns[name]) for name in common]
    both = single_row(session, common_rows(first.rows, second.rows, key_pairs, feature_pairs))
    size_of_first, size_of_second = (count(session, side.rows) for side in sides)
    common_count = both["common"]
    rows = RowCounts(size_of_first, size_of_second, common_count, added=size_of_second - common_count, gone=size_of_first - common_count)
    return rows, {name: both[f"f{index}"] for index, name in enumerate(common)}


def _drift(session: Session, sides: tuple[Side, Side], name: str, first: TrainingSet, second: TrainingSet) -> Facts:
    types = [training_set.read().schema.field(name).type for training_set in (first, second)]
    nested = any(pa.types.is_nested(arrow_type) or pa.types.is_binary(arrow_type) for arrow_type in types)
    if nested or (is_number(types[0]), is_time(types[0])) != (is_number(types[1]), is_time(types[1])):
        return {"psi": None, "js": None}
    measured = first.statistics["columns"][name]
    counts = []
    for side, arrow_type in zip(sides, types, strict=True):
        bins = session.batches(bin_counts(side.rows, _bin(side.columns[name], arrow_type, measured))).read_all().to_pylist()
        counts.append({row["bin"]: row["n"] for row in bins})
    return {"psi": drift.psi(*counts), "js": drift.jensen_shannon(*counts)}


def _bin(column: str, arrow_type: pa.DataType, measured: Facts) -> Tree:
    """The bin of a value of a column, as text."""
    if is_number(arrow_type) or is_time(arrow_type):
        ends = [measured["quantiles"][percent] for percent in DECILES if percent in measured["quantiles"]]
        cut = sorted({times.parse(end, "quantile") if isinstance(end, str) else end for end in ends})
        return number_bin(column, scalar_kind(arrow_type), cut)
    frequent = [str(value).lower() if isinstance(value, bool) else str(value) for value, _ in measured["top"][:TOP]]
    return value_bin(column, frequent, TEXT)


def _definitions(known: Registry, first: TrainingSet, second: TrainingSet) -> tuple[DefinitionChange, ...]:
    before, after = ({use.view: use for use in training_set.plan.uses} for training_set in (first, second))
    changes: list[DefinitionChange] = []
    for view in [name for name in before if name in after and before[name].table != after[name].table]:
        versions = before[view].version, after[view].version
        changes.append(DefinitionChange("view", view, *versions, _diff(*(_sql(known, view, version) for version in versions))))
    old, new = dict(first.plan.derived), dict(second.plan.derived)
    edited = [name for name in old if name in new and old[name] != new[name]]
    changes += [DefinitionChange("derived", name, old[name], new[name], _diff(old[name], new[name])) for name in edited]
    return tuple(changes)


def _sql(known: Registry, view: str, version: int) -> str:
    """The SQL of a view version; empty if the version has been removed."""
    try:
        return known.get("view", view, version).sql
    except NotFound:
        return ""


def _diff(before: str, after: str) -> str | None:
    """A unified diff; None if one side is no longer known."""
    if not before or not after:
        return None
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "a", "b", lineterm=""))


def _reasons(runtime: Runtime, first: TrainingSet, second: TrainingSet) -> dict[str, list[str]]:
    """For each feature of the second, a sentence for each input that differs; none if only the spine does."""
    reasons: dict[str, list[str]] = {}
    before = {name: use for use in first.plan.uses for _, name in use.features}
    for use in second.plan.uses:
        for _, name in use.features:
            known = [f"known={first.manifest['known']!r} became {second.manifest['known']!r}"]
            reasons[name] = known if first.manifest["known"] != second.manifest["known"] else []
            if name in before and before[name].table != use.table:
                reasons[name].append(f"definition: {before[name].table} became {use.table}")
            elif name in before:
                reasons[name] += _table_changes(runtime, use.table, first, second)
    derived = dict(first.plan.derived)
    for name, sql in second.plan.derived:
        inputs = [other for other in reasons if re.search(rf"\b{re.escape(other)}\b", sql)]
        edited = ["definition: its SQL changed"] if derived.get(name, sql) != sql else []
        reasons[name] = list(dict.fromkeys([*edited, *(reason for other in inputs for reason in reasons[other])]))
    return reasons


def _table_changes(runtime: Runtime, name: str, first: TrainingSet, second: TrainingSet) -> list[str]:
    """What changed in a feature table between the two pinned snapshots."""
    pins = first.snapshots[name], second.snapshots[name]
    if pins[0] == pins[1]:
        return []
    table = tables.load(runtime.catalog, runtime.features_table(name))
    before, after = (feature_table.state_at(table, pin) for pin in pins)
    changes = [
        f"source {source}: snapshot {before.snapshots.get(source, 'none')} became {snapshot}"
        for source, snapshot in after.snapshots.items()
        if before.snapshots.get(source) != snapshot
    ]
    if after.corrections != before.corrections:
        changes.append(f"corrections in {name}: {before.corrections} became {after.corrections}")
    if after.through != before.through:
        changes.append(f"{name} was materialized through {times.text(before.through)}, now through {times.text(after.through)}")
    return changes
