"""What policies show of online rows: filters and masks, evaluated on the raw row of each key."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from featurestore.compiler.online_policy import TIME, CompiledPolicy, compile_policy
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ViewUse
from featurestore.engine.session import ColumnValues
from featurestore.errors import NotReady, RequestError
from featurestore.online.store import Read, Row
from featurestore.pipelines.online_lookup.work import is_brief, uuids_as_text
from featurestore.records.runtime import Runtime
from featurestore.values import times


def show_read(runtime: Runtime, use: ViewUse, policy: BoundPolicy, keys: Sequence[tuple[Any, ...]], read: Read) -> Read:
    """What a policy shows of the rows of a view that were read for these keys: None for a row that is hidden, and else masked values.

    Raises: RequestError that says nothing of the rows; NotReady.
    """
    present = [(place, row) for place, row in enumerate(read.rows) if row is not None]
    compiled = compile_policy(use, policy, read.columns)
    if not present or not (compiled.masked or compiled.nulls or policy.filters):
        return read
    if any(len(row.values) != len(read.columns) for _, row in present):
        raise NotReady(f"the online rows of {use.table} are damaged; run featurestore publish --full", table=use.table)
    values = {name: [row.values[index] for _, row in present] for index, name in enumerate(read.columns)}
    values |= {column: [keys[place][index] for place, _ in present] for index, (column, _) in enumerate(use.keys)}
    values[TIME] = [times.moment(row.feature_timestamp) for _, row in present]
    inputs = {name: (sql_type, uuids_as_text(values[name], sql_type)) for name, sql_type in compiled.inputs}
    visible, *masked = _evaluate(runtime, use, compiled, inputs, len(present))
    masked += [[None] * len(present) for _ in compiled.nulls]
    places = [read.columns.index(name) for name in (*compiled.masked, *compiled.nulls)]
    rows: list[Row | None] = [None] * len(read.rows)
    for (place, row), shown, *new in zip(present, visible, *masked, strict=True):
        if shown:
            rows[place] = Row(row.feature_timestamp, row.created_timestamp, _replaced(row.values, places, new))
    return replace(read, rows=rows)


def _replaced(values: tuple[Any, ...], places: Sequence[int], new: Sequence[Any]) -> tuple[Any, ...]:
    if not places:
        return values
    changed = list(values)
    for place, value in zip(places, new, strict=True):
        changed[place] = value
    return tuple(changed)


def _evaluate(runtime: Runtime, use: ViewUse, compiled: CompiledPolicy, inputs: ColumnValues, rows: int) -> list[list[Any]]:
    evaluator = runtime.evaluator(brief=compiled.work is not None and is_brief(compiled.work, inputs, rows))
    try:
        return evaluator.evaluate(compiled.expressions, inputs, rows)
    except RequestError:
        # The error of the engine may quote what is hidden.
        raise RequestError(f"what may be seen of {use.label} cannot be computed for these entities; ask for fewer at once") from None
