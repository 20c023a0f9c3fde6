"""Compute derived features over the rows of a join, with errors that name the feature that fails."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore.compiler.join_rows import items_of
from featurestore.compiler.query import Query, Tree
from featurestore.compiler.relations import Handle
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.values.storable import unstorable_values


def derived_error(name: str, sql: str, sql_type: str, details: Mapping[str, Any]) -> RequestError:
    """The error of a derived feature that fails on its input values; `details` are those of DuckDB's error."""
    return RequestError(
        f"the derived feature '{name}' ({sql}), which is {sql_type}, cannot be computed for these values: a number goes beyond its"
        " type or has more than 38 digits, a time lies outside the years 1 to 9999, or a text is no value of it; CAST to a wider type, or"
        " use TRY_CAST or CASE",
        **{**details, "field": f"derived.{name}", "type": sql_type},
    )


def derived_rows(
    session: Session, plan: ServicePlan, query: Query, derived: Sequence[Tree], inputs: Query | Handle, rows: int
) -> pa.RecordBatchReader:
    """Stream the rows of a query that computes the derived features over `inputs`; `derived` are their SELECT items.

    Reading raises: RequestError naming the first derived feature that fails, or has values that a table cannot store.
    """
    alone = {name: items_of(inputs, [item]) for (name, _), item in zip(plan.derived, derived, strict=True)}
    try:
        reader = session.batches(query, rows)
    except RequestError as error:
        raise _failing_feature_error(session, plan, alone, error) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _checked_batches(session, plan, reader, alone))


def _checked_batches(
    session: Session, plan: ServicePlan, reader: pa.RecordBatchReader, alone: Mapping[str, Query]
) -> Iterator[pa.RecordBatch]:
    unstorable: str | None = None
    while unstorable is None:
        try:
            batch = next(reader, None)
        except RequestError as error:
            raise _failing_feature_error(session, plan, alone, error) from error
        if batch is None:
            return
        unstorable = next((name for name, _ in plan.derived if unstorable_values(batch.column(name)) is not None), None)
        if unstorable is None:
            yield batch
    # A session can have only one open result.
    del reader, batch
    raise derived_error(unstorable, dict(plan.derived)[unstorable], _sql_type(session, alone[unstorable]), {})


def _failing_feature_error(session: Session, plan: ServicePlan, alone: Mapping[str, Query], error: RequestError) -> RequestError:
    """The error of the first derived feature that fails when it is computed alone; the original error if none does."""
    if type(error) is not RequestError:
        return error
    for name, sql in plan.derived:
        try:
            for _ in session.batches(alone[name]):
                pass
        except RequestError as own:
            return derived_error(name, sql, _sql_type(session, alone[name]), own.details)
    return error


def _sql_type(session: Session, query: Query) -> str:
    """The DuckDB type of a query of one column."""
    (sql_type,) = session.schema(query).values()
    return sql_type
