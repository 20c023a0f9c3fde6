"""The online lookup: the newest row per key of every view, and the same derived features as in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from math import isfinite
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa

from featurestore.compiler.derived import derived_sql, derived_trees
from featurestore.compiler.expressions import column_names, quoted, resolve
from featurestore.compiler.linear import are_linear, expression_weight
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.evaluator import ColumnValues, ExpressionEvaluator
from featurestore.errors import RequestError, near
from featurestore.joins.derived_rows import beyond_type
from featurestore.online.store import Read, Row
from featurestore.records.online_tables import Filling
from featurestore.records.runtime import Runtime
from featurestore.spines.columns import arrow_type
from featurestore.values import json_encoding, times
from featurestore.values.coercion import DOUBLES, fit, is_fit

PRESENT, NOT_FOUND, EXPIRED = "PRESENT", "NOT_FOUND", "EXPIRED"
BRIEF = 4_000_000
"""Linear work, in parts of expressions times rows and characters, that is done at once: a second of it at worst."""
CHARACTER = 20
"""So many rows of numbers take as long as one character: a zone in a text, to be cast to a time, is the worst."""


@dataclass(frozen=True)
class OnlineFeatures:
    """One row of feature values for each entity, in the order of the request.

    `status` (PRESENT, NOT_FOUND, EXPIRED) and `timestamps` (microseconds; None where there is no row) hold, for each
    use of a view by its label, one entry per entity. `snapshots` and `watermarks` tell, for each feature table, what
    the online store holds of it; None when nothing was published yet.
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
    """The DuckDB types of the derived ones; none where no entity was asked for."""

    def to_dict(self, full: bool = True) -> dict[str, Any]:
        """The HTTP body: values as Python ones, times as RFC 3339, snapshot ids as text.

        `full` False leaves out types, status and timestamps.
        """
        return {**self._body(full), "rows": [list(row) for row in self.rows]}

    def to_json(self, full: bool = True) -> bytes:
        """The HTTP body as it is sent."""
        rows = json_encoding.dumps(self.rows, suspected=self._may_not_be_finite)
        return orjson.dumps({**self._body(full), "rows": orjson.Fragment(rows)})

    def _body(self, full: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "features": list(self.features),
            "rows": None,
            "snapshots": {table: None if snapshot is None else str(snapshot) for table, snapshot in self.snapshots.items()},
            "watermarks": {table: times.text(through) for table, through in self.watermarks.items()},
        }
        if full:
            body["types"] = list(self.types)
            if self.derived_types:
                body["derived_types"] = list(self.derived_types)
            body["status"] = {label: list(states) for label, states in self.status.items()}
            # Spelled once each: on a grid, many rows are of the same time.
            texts = times.texts(chain.from_iterable(self.timestamps.values()))
            body["timestamps"] = {label: [texts[at] for at in all] for label, all in self.timestamps.items()}
        return body

    def _may_not_be_finite(self) -> bool:
        """False where no float is NaN or infinite; takes less than looking at each."""
        kinds = [*(kind for kind in self.types if kind is not None), *self.derived_types]
        floats = [index for index, kind in enumerate(kinds) if kind in DOUBLES]
        if any("DOUBLE" in kind or "FLOAT" in kind for kind in kinds if kind not in DOUBLES):
            return True
        if not floats:
            return False
        # The first is there twice, so that one alone is a tuple as well.
        cells = map(itemgetter(floats[0], *floats), self.rows)
        # What is NaN or infinite makes the sum so; 0.0 can go with NULL, and a sum that is too large is looked into for nothing.
        return not isfinite(sum(map(sum, map(partial(filter, None), cells))))

    def to_arrow(self) -> pa.Table:
        """The feature values as a table, one row for each entity."""
        columns: dict[str, pa.Array] = {}
        for index, (name, kind) in enumerate(zip(self.features, self.types, strict=True)):
            values = [row[index] for row in self.rows]
            columns[name] = pa.array(values) if kind is None else pa.array(_texts(values, kind), arrow_type(kind))
        return pa.table(columns)


def lookup(
    runtime: Runtime,
    plan: ServicePlan,
    entities: Sequence[Mapping[str, Any]],
    request: Sequence[Mapping[str, Any]] | None,
    filling: Filling,
    at: int | None = None,
) -> OnlineFeatures:
    """Features of each entity as of now (`at`, microseconds, bounds only the ttl).

    Raises: RequestError for a key or request field that is missing or unknown; TypeMismatch for a value of a wrong type; NotReady
    for a table that the online store lost.
    """
    fields = _request(plan, entities, request)
    wanted = _wanted(plan, entities)
    reads = runtime.online.read(wanted)
    if missing := [use.table for use, read in zip(plan.uses, reads, strict=True) if read.cursor is None]:
        filling.check(missing)
    present = times.now() if at is None else at
    picked: list[list[tuple[Any, ...]]] = []
    status: dict[str, tuple[str, ...]] = {}
    timestamps: dict[str, tuple[int | None, ...]] = {}
    for use, read in zip(plan.uses, reads, strict=True):
        status[use.label] = tuple(_status(use, row, present) for row in read.rows)
        timestamps[use.label] = tuple(None if row is None else row.feature_timestamp for row in read.rows)
        picked.append(_picked(use, read, status[use.label]))
    rows = [tuple(chain.from_iterable(parts_of_row)) for parts_of_row in zip(*picked, strict=True)]
    derived_types: tuple[str, ...] = ()
    if plan.derived and entities:
        derived, derived_types = _derive(runtime, plan, fields, list(zip(*rows, strict=True)))
        rows = [(*row, *more) for row, more in zip(rows, zip(*derived, strict=True), strict=True)]
    return OnlineFeatures(
        features=plan.feature_names,
        rows=tuple(rows),
        status=status,
        timestamps=timestamps,
        snapshots={use.table: None if read.cursor is None else read.cursor.snapshot_id for use, read in zip(plan.uses, reads, strict=True)},
        watermarks={
            use.table: None if read.cursor is None else read.cursor.materialized_through for use, read in zip(plan.uses, reads, strict=True)
        },
        types=(*(kind for use in plan.uses for kind in use.feature_types), *(None for _ in plan.derived)),
        derived_types=derived_types,
    )


def _wanted(plan: ServicePlan, entities: Sequence[Mapping[str, Any]]) -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
    """What to read of each view. Views under the same keys share one list, which the store then encodes once."""
    keys: dict[Any, list[tuple[Any, ...]]] = {}
    wanted: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
    for use in plan.uses:
        under = (tuple(column for _, column in use.keys), use.key_types)
        if under not in keys:
            keys[under] = [_key(use, entity, row) for row, entity in enumerate(entities)]
        wanted.append((use.table, keys[under]))
    return wanted


def _key(use: ViewUse, entity: Mapping[str, Any], row: int) -> tuple[Any, ...]:
    values: list[Any] = []
    for (_, column), kind in zip(use.keys, use.key_types, strict=True):
        if column not in entity:
            raise RequestError(
                f"entities[{row}] has no key '{column}', which view {use.label} needs{near(column, entity) if entity else ''}",
                field=f"entities[{row}].{column}",
            )
        value = entity[column]
        if not is_fit(value, kind):
            value = fit(value, kind, f"entities[{row}].{column}")
        # The engine hands UUIDs over as text, and that is how they were published.
        values.append(str(value) if kind == "UUID" and value is not None else value)
    return tuple(values)


def _status(use: ViewUse, row: Row | None, present: int) -> str:
    if row is None:
        return NOT_FOUND
    return EXPIRED if use.ttl is not None and present - row.feature_timestamp > use.ttl else PRESENT


def _picked(use: ViewUse, read: Read, status: Sequence[str]) -> list[tuple[Any, ...]]:
    """The wanted features of each entity, row by row: all NULL where nothing is present."""
    nothing = (None,) * len(use.features)
    if not read.columns:
        return [nothing] * len(read.rows)
    at = [read.columns.index(column) for column, _ in use.features]
    whole = at == list(range(len(read.columns)))
    return [
        nothing if row is None or state != PRESENT else row.values if whole else tuple([row.values[index] for index in at])
        for row, state in zip(read.rows, status, strict=True)
    ]


def _request(plan: ServicePlan, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None) -> dict[str, list[Any]]:
    """The request fields as columns, fitted to their types."""
    names = [name for name, _ in plan.request]
    if not isinstance(entities, Sequence) or isinstance(entities, str) or not all(isinstance(entity, Mapping) for entity in entities):
        raise RequestError("entities must be a list of objects, each key column with its value")
    keys = plan.entity_columns
    for row, entity in enumerate(entities):
        for column in entity:
            if column not in keys:
                raise RequestError(f"entities[{row}]: service {plan.service} has no key '{column}'{near(column, keys)}")
    if request is None and plan.request:
        wanted = ", ".join(f"{name} ({kind})" for name, kind in plan.request)
        raise RequestError(f"service {plan.service} needs request fields with each entity: {wanted}", field="request")
    if request is not None and (not isinstance(request, Sequence) or not all(isinstance(values, Mapping) for values in request)):
        raise RequestError("request must be a list of objects, one for each entity, each field with its value", field="request")
    given = list(request) if request is not None else [{}] * len(entities)
    if len(given) != len(entities):
        raise RequestError(
            f"request has {len(given)} rows for {len(entities)} entities; give one for each, in the same order", field="request"
        )
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row, values in enumerate(given):
        for name in values:
            if name not in names:
                raise RequestError(
                    f"request[{row}]: service {plan.service} has no request field '{name}'{near(name, names)}",
                    field=f"request[{row}].{name}",
                )
        for name, kind in plan.request:
            if name not in values:
                tail = near(name, values) if values else ""
                raise RequestError(
                    f"request[{row}] has no '{name}' ({kind}), a request field of service {plan.service}{tail}",
                    field=f"request[{row}].{name}",
                )
            columns[name].append(fit(values[name], kind, f"request[{row}].{name}"))
    return columns


def derive(runtime: Runtime, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The derived features, by the engine and the SQL that training uses."""
    return _derive(runtime, plan, fields, looked_up)[0]


def _derive(
    runtime: Runtime, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]
) -> tuple[list[list[Any]], tuple[str, ...]]:
    """The derived features with their types."""
    expressions, kinds, work = _expressions(plan)
    values = {**fields, **dict(zip(plan.looked_up_names, looked_up, strict=True))}
    given = {name: (kind, _texts(values[name], kind)) for name, kind in kinds}
    rows = len(looked_up[0]) if looked_up else max(map(len, fields.values()), default=1)
    evaluator = runtime.evaluator(brief=work is not None and work * (rows + CHARACTER * _length(given)) <= BRIEF)
    try:
        found = evaluator.evaluate(expressions, given, rows)
        return found, evaluator.types_of(expressions, given, rows)
    except RequestError as error:
        raise _failed_derived(evaluator, plan, expressions, given, rows) or error from error


def _failed_derived(
    evaluator: ExpressionEvaluator, plan: ServicePlan, expressions: Sequence[str], given: ColumnValues, rows: int
) -> RequestError | None:
    """The error that names the first derived feature that fails by itself, with its type; None where each of them works."""
    for (name, sql), expression in zip(plan.derived, expressions, strict=True):
        try:
            evaluator.evaluate([expression], given, rows)
        except RequestError as error:
            kind = evaluator.types_of([expression], given)[0]
            return beyond_type(name, sql, kind, error.details)
    return None


@lru_cache(maxsize=256)
def _expressions(plan: ServicePlan) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], int | None]:
    """The derived features' SQL, the (name, type) of what they read, and their work for a row or a character; parsing takes long.

    None as their work: it grows faster than that.
    """
    looked_up = {name: kind for use in plan.uses for (_, name), kind in zip(use.features, use.feature_types, strict=True)}
    kinds = {**dict(plan.request), **looked_up}
    trees = derived_trees(plan)
    read = {resolve(column, kinds) for tree in trees for column in column_names(tree)}
    scope = {name: quoted(name) for name in kinds}
    columns = tuple((name, kind) for name, kind in kinds.items() if name in read)
    return tuple(derived_sql(plan, scope)), columns, expression_weight(trees) if are_linear(trees) else None


def _length(given: ColumnValues) -> int:
    """How many characters, bytes and values of lists there are in columns."""
    return sum(sum(map(_size, values)) for kind, values in given.values() if kind in ("VARCHAR", "BLOB", "BIT") or kind.endswith("]"))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(value) + sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def _texts(values: Sequence[Any], kind: str) -> Sequence[Any]:
    return [None if value is None else str(value) for value in values] if kind == "UUID" else values
