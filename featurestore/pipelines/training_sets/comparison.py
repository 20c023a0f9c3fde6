"""Two training sets held against one another: definitions, rows, values, drift, and what may have changed them."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import literal
from featurestore.engine.session import Session
from featurestore.errors import NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.pipelines.training_sets import drift
from featurestore.pipelines.training_sets.column_profile import TOP
from featurestore.pipelines.training_sets.measures import TEXT, is_number, is_time, scalar
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records import definitions, feature_table
from featurestore.records.definitions import Registry
from featurestore.records.runtime import Runtime
from featurestore.values import times

ENDS = ("10", "20", "30", "40", "50", "60", "70", "80", "90")
"""Numbers and times are counted between the first set's deciles."""

Facts = dict[str, Any]


def compare(runtime: Runtime, first: TrainingSet, second: TrainingSet) -> Facts:
    """What the second has otherwise than the first, JSON-ready.

    `definitions`: views and derived features that changed, with the difference of their SQL. `rows`: how many each has, how many are
    in both, `added` and `gone`; a row is known by its keys and its time, and among equal ones by its place. `features`: those `added`
    and `gone`, and of those in both how many of the rows in both have another value (`changed`, `share`), how far all rows of one lie
    from those of the other (`psi`, `js`), and `because`: what differs between the two that the feature is made of.
    Raises: RequestError where the key columns differ, so that no row can be known again.
    """
    known = definitions.read(runtime)
    keys = _keys(first, second)
    common = [name for name in first.features if name in second.features]
    with runtime.engine.session() as session:
        columns = {"a": _add(session, "a", first, keys[0]), "b": _add(session, "b", second, keys[1])}
        rows, changed = _matched(session, columns, keys, common)
        apart = {name: _apart(session, columns, name, first, second) for name in common}
    because = _reasons(runtime, first, second)
    return {
        "a": first.id,
        "b": second.id,
        "definitions": _definitions(known, first, second),
        "rows": rows,
        "features": {
            "added": [name for name in second.features if name not in common],
            "gone": [name for name in first.features if name not in common],
            "common": {
                name: {
                    "changed": changed[name],
                    "share": changed[name] / rows["common"] if rows["common"] else None,
                    **apart[name],
                    "because": because[name] if changed[name] else [],
                }
                for name in common
            },
        },
    }


def _keys(first: TrainingSet, second: TrainingSet) -> tuple[list[str], list[str]]:
    own = [list(one.plan.entity_columns) for one in (first, second)]
    if own[0] != own[1]:
        raise RequestError(
            f"{first.id} has the keys {', '.join(own[0])}, {second.id} has {', '.join(own[1])}: no row of one can be found in the other"
        )
    return [*own[0], first.timestamp], [*own[1], second.timestamp]


def _add(session: Session, name: str, made: TrainingSet, keys: list[str]) -> dict[str, str]:
    """The rows as a table of the session, with a number `o` among rows of equal keys; its columns by what people call them."""
    own = {column: f"c{index}" for index, column in enumerate(column["name"] for column in made.manifest["columns"])}
    reader = made.read()
    schema = pa.schema([*(field.with_name(own[field.name]) for field in reader.schema), pa.field("n", pa.int64())])
    session.add(f"{name}_once", pa.RecordBatchReader.from_batches(schema, _numbered(reader, schema)))
    partition = ", ".join(own[key] for key in keys)
    session.run(f"CREATE TEMP TABLE {name} AS SELECT *, row_number() OVER (PARTITION BY {partition} ORDER BY n) AS o FROM {name}_once")
    return own


def _numbered(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in reader:
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(range(rows, rows + batch.num_rows), pa.int64())], schema=schema)
        rows += batch.num_rows


def _matched(
    session: Session, columns: Mapping[str, dict[str, str]], keys: tuple[list[str], list[str]], common: list[str]
) -> tuple[Facts, dict[str, int]]:
    """How many rows there are on each side and on both, and how many of these have another value, by feature."""
    on = [f"a.{columns['a'][left]} IS NOT DISTINCT FROM b.{columns['b'][right]}" for left, right in zip(*keys, strict=True)]
    # As texts, since a feature may have another type now.
    pairs = [(f"a.{columns['a'][name]}", f"b.{columns['b'][name]}") for name in common]
    counts = [f"count(*) FILTER (CAST({a} AS VARCHAR) IS DISTINCT FROM CAST({b} AS VARCHAR)) AS f{i}" for i, (a, b) in enumerate(pairs)]
    both = _one(session, f"SELECT {', '.join(['count(*) AS common', *counts])} FROM a JOIN b ON {' AND '.join([*on, 'a.o = b.o'])}")
    sides = _one(session, "SELECT (SELECT count(*) FROM a) AS a, (SELECT count(*) FROM b) AS b")
    rows = {**sides, "common": both["common"], "added": sides["b"] - both["common"], "gone": sides["a"] - both["common"]}
    return rows, {name: both[f"f{index}"] for index, name in enumerate(common)}


def _apart(session: Session, columns: Mapping[str, dict[str, str]], name: str, first: TrainingSet, second: TrainingSet) -> Facts:
    kinds = [one.read().schema.field(name).type for one in (first, second)]
    nested = any(pa.types.is_nested(kind) or pa.types.is_binary(kind) for kind in kinds)
    if nested or (is_number(kinds[0]), is_time(kinds[0])) != (is_number(kinds[1]), is_time(kinds[1])):
        return {"psi": None, "js": None}
    measured = first.statistics["columns"][name]
    counts = []
    for side, kind in zip("ab", kinds, strict=True):
        binned = _bin(columns[side][name], kind, measured)
        found = session.batches(f"SELECT {binned} AS bin, count(*) AS n FROM {side} GROUP BY ALL").read_all().to_pylist()
        counts.append({row["bin"]: row["n"] for row in found})
    return {"psi": drift.psi(*counts), "js": drift.jensen_shannon(*counts)}


def _bin(column: str, kind: pa.DataType, measured: Facts) -> str:
    """The bin of a value as SQL text: NULL and NaN have bins of their own."""
    if is_number(kind) or is_time(kind):
        value = scalar(column, kind)
        ends = [measured["quantiles"][percent] for percent in ENDS if percent in measured["quantiles"]]
        cut = sorted({times.parse(end, "quantile") if isinstance(end, str) else end for end in ends})
        steps = " + ".join([f"CASE WHEN {value} > {end!r} THEN 1 ELSE 0 END" for end in cut] or ["0"])
        unknown = "" if is_time(kind) or pa.types.is_integer(kind) else f" WHEN isnan({value}) THEN 'nan'"
        return f"CASE WHEN {column} IS NULL THEN 'null'{unknown} ELSE CAST({steps} AS VARCHAR) END"
    text = f"left(CAST({column} AS VARCHAR), {TEXT})"
    frequent = ", ".join(literal(str(value).lower() if isinstance(value, bool) else str(value)) for value, _ in measured["top"][:TOP])
    known = f" WHEN {text} IN ({frequent}) THEN '=' || {text}" if frequent else ""
    return f"CASE WHEN {column} IS NULL THEN 'null'{known} ELSE 'other' END"


def _definitions(known: Registry, first: TrainingSet, second: TrainingSet) -> list[Facts]:
    before, after = ({use.view: use for use in one.plan.uses} for one in (first, second))
    changed: list[Facts] = []
    for view in [name for name in before if name in after and before[name].table != after[name].table]:
        versions = before[view].version, after[view].version
        changed.append({"view": view, "from": versions[0], "to": versions[1], "diff": _diff(*(_sql(known, view, one) for one in versions))})
    old, new = dict(first.plan.derived), dict(second.plan.derived)
    renewed = [name for name in old if name in new and old[name] != new[name]]
    return [*changed, *({"derived": name, "from": old[name], "to": new[name], "diff": _diff(old[name], new[name])} for name in renewed)]


def _sql(known: Registry, view: str, version: int) -> str:
    """The SQL of a version; empty when the version was removed since."""
    try:
        return known.get("view", view, version).sql
    except NotFound:
        return ""


def _diff(before: str, after: str) -> str | None:
    """A unified difference; None where one side is not known any more."""
    if not before or not after:
        return None
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "a", "b", lineterm=""))


def _reasons(runtime: Runtime, first: TrainingSet, second: TrainingSet) -> dict[str, list[str]]:
    """By feature of the second what it is made of differently: sentences, none where nothing is but the spine."""
    found: dict[str, list[str]] = {}
    before = {name: use for use in first.plan.uses for _, name in use.features}
    for use in second.plan.uses:
        for _, name in use.features:
            said = [f"known={first.manifest['known']!r} became {second.manifest['known']!r}"]
            said = said if first.manifest["known"] != second.manifest["known"] else []
            if name in before and before[name].table != use.table:
                said.append(f"definition: {before[name].table} became {use.table}")
            elif name in before:
                said += _moved(runtime, use.table, first, second)
            found[name] = said
    derived = dict(first.plan.derived)
    for name, sql in second.plan.derived:
        inputs = [other for other in found if re.search(rf"\b{re.escape(other)}\b", sql)]
        own = ["definition: its SQL changed"] if derived.get(name, sql) != sql else []
        found[name] = list(dict.fromkeys([*own, *(said for other in inputs for said in found[other])]))
    return found


def _moved(runtime: Runtime, name: str, first: TrainingSet, second: TrainingSet) -> list[str]:
    """What came to a feature table between the two pinned snapshots."""
    pins = first.snapshots[name], second.snapshots[name]
    if pins[0] == pins[1]:
        return []
    table = tables.load(runtime.catalog, runtime.features_table(name))
    before, after = (feature_table.state_at(table, pin) for pin in pins)
    said = [
        f"source {source}: snapshot {before.snapshots.get(source, 'none')} became {snapshot}"
        for source, snapshot in after.snapshots.items()
        if before.snapshots.get(source) != snapshot
    ]
    if after.corrections != before.corrections:
        said.append(f"corrections in {name}: {before.corrections} became {after.corrections}")
    if after.through != before.through:
        said.append(f"{name} is materialized through {times.text(after.through)} now, formerly through {times.text(before.through)}")
    return said


def _one(session: Session, sql: str) -> Facts:
    return dict(session.batches(sql).read_all().to_pylist()[0])
