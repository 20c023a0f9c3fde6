"""The online lookup: the newest row of each view per entity, and derived features with the same SQL as in training."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from featurestore.compiler.derived import derived_sql, derived_trees
from featurestore.compiler.expressions import column_names, quote_name, resolve
from featurestore.compiler.linear import are_linear, expression_weight
from featurestore.compiler.row_policy import BoundPolicy, policies_digest
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import ColumnValues, ExpressionEvaluator
from featurestore.errors import NotReady, RequestError, near
from featurestore.joins.derived_rows import derived_error
from featurestore.online.store import Read, Row
from featurestore.pipelines.online_lookup.instant import read_instant
from featurestore.pipelines.online_lookup.online_features import EXPIRED, NOT_FOUND, PRESENT, STALE, OnlineFeatures, newest_edition
from featurestore.pipelines.online_lookup.row_policies import show_read
from featurestore.pipelines.online_lookup.work import is_brief, uuids_as_text
from featurestore.records.defaults import default_values
from featurestore.records.online_tables import OnlineTables
from featurestore.records.runtime import Runtime
from featurestore.records.staleness import StalePolicy, refuse_stale
from featurestore.values import times
from featurestore.values.coercion import coerce, is_exact_fit


def lookup(
    runtime: Runtime,
    plan: ServicePlan,
    entities: Sequence[Mapping[str, Any]],
    request: Sequence[Mapping[str, Any]] | None,
    online_tables: OnlineTables,
    at: int | None = None,
    policies: Callable[[int], Mapping[str, StalePolicy]] = lambda generation: {},
    row_policies: Mapping[str, BoundPolicy] = {},
) -> OnlineFeatures:
    """The newest features of each entity; `at` (microseconds, default: now) is the time that ttl and staleness are checked against.

    `policies` returns those of views that may be stale, by feature table, for the generation of the online store that was read.
    `row_policies` are in force on the rows for whom they are looked up, by feature table too: a row that is hidden is as if it were not
    there, and masks come before derived features.

    Raises: RequestError for a missing or unknown key or request field; TypeMismatch for a value of the wrong type; NotReady if the
    online store has lost a table, or for a stale view with stale="error".
    """
    fields = _request(plan, entities, request)
    requests = _keys_by_table(plan, entities)
    present = times.now() if at is None else at
    reads, outdated = read_instant(runtime.online, plan.uses, requests, present)
    if missing := [use.table for use, read in zip(plan.uses, reads, strict=True) if read.cursor is None]:
        online_tables.check_absent(missing)
    if online_tables.lost:
        online_tables.refuse_lost(use.table for use in plan.uses)
    if row_policies:
        reads = [
            show_read(runtime, use, bound, keys, read) if (bound := row_policies.get(use.table)) is not None else read
            for use, (_, keys), read in zip(plan.uses, requests, reads, strict=True)
        ]
    stale_policies = policies(reads[0].generation) if reads else {}
    values: list[list[tuple[Any, ...]]] = []
    status: dict[str, tuple[str, ...]] = {}
    timestamps: dict[str, tuple[int | None, ...]] = {}
    for use, read, late in zip(plan.uses, reads, outdated, strict=True):
        policy = stale_policies.get(use.table)
        stale = policy if policy is not None and (late or policy.is_stale(read.cursor, present)) else None
        if stale is not None and stale.mode == "error":
            refuse_stale(use.label, use.table, stale, read.cursor, present)
        status[use.label] = tuple(
            _status(use, row, present, PRESENT if stale is None and place not in late else STALE) for place, row in enumerate(read.rows)
        )
        timestamps[use.label] = tuple(None if row is None else row.feature_timestamp for row in read.rows)
        values.append(_select_features(use, read, status[use.label], stale is None or stale.mode == "value"))
    rows = [tuple(chain.from_iterable(parts_of_row)) for parts_of_row in zip(*values, strict=True)]
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
        types=(*(sql_type for use in plan.uses for sql_type in use.feature_types), *(None for _ in plan.derived)),
        derived_types=derived_types,
        edition=newest_edition(read.edition for read in reads),
        at=present,
        policies=policies_digest({f"VIEW {use.view}": row_policies[use.table].policy for use in plan.uses if use.table in row_policies}),
    )


def _keys_by_table(plan: ServicePlan, entities: Sequence[Mapping[str, Any]]) -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
    """The table and the keys to read for each view. Views with the same keys share one list, so that the store encodes it once."""
    keys: dict[Any, list[tuple[Any, ...]]] = {}
    requests: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
    for use in plan.uses:
        key_columns = (tuple(column for _, column in use.keys), use.key_types)
        if key_columns not in keys:
            keys[key_columns] = [_key(use, entity, row) for row, entity in enumerate(entities)]
        requests.append((use.table, keys[key_columns]))
    return requests


def _key(use: ViewUse, entity: Mapping[str, Any], row: int) -> tuple[Any, ...]:
    values: list[Any] = []
    for (_, column), sql_type in zip(use.keys, use.key_types, strict=True):
        if column not in entity:
            raise RequestError(
                f"entities[{row}] has no key '{column}', which view {use.label} needs{near(column, entity) if entity else ''}",
                field=f"entities[{row}].{column}",
            )
        value = entity[column]
        if not is_exact_fit(value, sql_type):
            value = coerce(value, sql_type, f"entities[{row}].{column}")
        # UUIDs are published as text, since DuckDB returns them as text.
        values.append(str(value) if sql_type == "UUID" and value is not None else value)
    return tuple(values)


def _status(use: ViewUse, row: Row | None, present: int, valid: str) -> str:
    """The status of an entity in a view; `valid` is that of a row within the ttl."""
    if row is None:
        return NOT_FOUND
    return EXPIRED if use.ttl is not None and present - row.feature_timestamp > use.ttl else valid


def _select_features(use: ViewUse, read: Read, status: Sequence[str], stale_values: bool) -> list[tuple[Any, ...]]:
    """The requested features of each entity: all NULL unless its row is PRESENT or, with `stale_values`, STALE."""
    valid = (PRESENT, STALE) if stale_values else (PRESENT,)
    nulls = tuple(default_values(use).get(name) for _, name in use.features) if use.defaults else (None,) * len(use.features)
    if not read.columns:
        return [nulls] * len(read.rows)
    at = None if use.columns == read.columns else _places(use, read.columns)
    selected = [
        nulls if row is None or state not in valid else row.values if at is None else tuple([row.values[index] for index in at])
        for row, state in zip(read.rows, status, strict=True)
    ]
    if not use.defaults:
        return selected
    return [tuple([default if value is None else value for value, default in zip(row, nulls, strict=True)]) for row in selected]


def _places(use: ViewUse, columns: tuple[str, ...]) -> list[int]:
    """The places of a view's features among the stored columns. Raises: NotReady for one that is not published yet."""
    if lacking := [column for column in use.columns if column not in columns]:
        raise online_column_missing(use.table, lacking[0])
    return [columns.index(column) for column in use.columns]


def online_column_missing(table: str, column: str) -> NotReady:
    """The error of a feature that was added to a table and is not published yet."""
    return NotReady(f"the online rows of {table} do not have the feature '{column}' yet; run featurestore publish", table=table)


def _request(plan: ServicePlan, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None) -> dict[str, list[Any]]:
    """The request fields as columns, converted to their types."""
    names = [name for name, _ in plan.request]
    if not isinstance(entities, Sequence) or isinstance(entities, str) or not all(isinstance(entity, Mapping) for entity in entities):
        raise RequestError("entities must be a list of objects with a value for each key column")
    keys = plan.entity_columns
    for row, entity in enumerate(entities):
        for column in entity:
            if column not in keys:
                raise RequestError(f"entities[{row}]: service {plan.service} has no key '{column}'{near(column, keys)}")
    if request is None and plan.request:
        fields = ", ".join(f"{name} ({sql_type})" for name, sql_type in plan.request)
        raise RequestError(f"service {plan.service} needs request fields for each entity: {fields}", field="request")
    if request is not None and (not isinstance(request, Sequence) or not all(isinstance(values, Mapping) for values in request)):
        raise RequestError("request must be a list of objects, one for each entity, with a value for each field", field="request")
    rows = list(request) if request is not None else [{}] * len(entities)
    if len(rows) != len(entities):
        raise RequestError(
            f"request has {len(rows)} rows for {len(entities)} entities; give one for each, in the same order", field="request"
        )
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row, values in enumerate(rows):
        for name in values:
            if name not in names:
                raise RequestError(
                    f"request[{row}]: service {plan.service} has no request field '{name}'{near(name, names)}",
                    field=f"request[{row}].{name}",
                )
        for name, sql_type in plan.request:
            if name not in values:
                tail = near(name, values) if values else ""
                raise RequestError(
                    f"request[{row}] has no '{name}' ({sql_type}), a request field of service {plan.service}{tail}",
                    field=f"request[{row}].{name}",
                )
            columns[name].append(coerce(values[name], sql_type, f"request[{row}].{name}"))
    return columns


def derive(runtime: Runtime, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The derived features, computed with the SQL that training uses."""
    return _derive(runtime, plan, fields, looked_up)[0]


def _derive(
    runtime: Runtime, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]
) -> tuple[list[list[Any]], tuple[str, ...]]:
    """The derived features, and their types."""
    expressions, types, work = derived_expressions(plan)
    values = {**fields, **dict(zip(plan.looked_up_names, looked_up, strict=True))}
    inputs = {name: (sql_type, uuids_as_text(values[name], sql_type)) for name, sql_type in types}
    rows = len(looked_up[0]) if looked_up else max(map(len, fields.values()), default=1)
    evaluator = runtime.evaluator(brief=work is not None and is_brief(work, inputs, rows))
    try:
        derived = evaluator.evaluate(expressions, inputs, rows)
        return derived, evaluator.types_of(expressions, inputs, rows)
    except RequestError as error:
        raise _name_failed_feature(evaluator, plan, expressions, inputs, rows) or error from error


def _name_failed_feature(
    evaluator: ExpressionEvaluator, plan: ServicePlan, expressions: Sequence[str], inputs: ColumnValues, rows: int
) -> RequestError | None:
    """An error naming the first derived feature that fails on its own, with its type; None if each succeeds."""
    for (name, sql), expression in zip(plan.derived, expressions, strict=True):
        try:
            evaluator.evaluate([expression], inputs, rows)
        except RequestError as error:
            sql_type = evaluator.types_of([expression], inputs)[0]
            return derived_error(name, sql, sql_type, error.details)
    return None


@lru_cache(maxsize=256)
def derived_expressions(plan: ServicePlan) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], int | None]:
    """The SQL of the derived features, the (name, type) of their inputs, and their work per row or character.

    The work is None if it is not linear in the size of the inputs. Cached, since parsing is slower than a lookup.
    """
    looked_up = {name: sql_type for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    types = {**dict(plan.request), **looked_up}
    trees = derived_trees(plan)
    read = {resolve(column, types) for tree in trees for column in column_names(tree)}
    scope = {name: quote_name(name) for name in types}
    columns = tuple((name, sql_type) for name, sql_type in types.items() if name in read)
    return tuple(derived_sql(plan, scope)), columns, expression_weight(trees) if are_linear(trees) else None
