"""Derived features over the rows of a join, whose failures name the one that fails."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.values.storable import beyond


def beyond_type(name: str, sql: str, kind: str, details: Mapping[str, Any]) -> RequestError:
    """The error of a derived feature that fails on the values it is given; `details` are those of the engine's error."""
    return RequestError(
        f"the derived feature '{name}' ({sql}), which is {kind}, cannot be computed for these values: a number goes beyond its"
        " type or has more than 38 digits, a time lies outside the years 1 to 9999, or a text is no value of it; CAST to a wider type, or"
        " use TRY_CAST or CASE",
        **{**details, "field": f"derived.{name}", "type": kind},
    )


def derived_rows(session: Session, plan: ServicePlan, select: str, derived: Sequence[str], source: str, rows: int) -> pa.RecordBatchReader:
    """The rows of `select`, which has the derived features over `source`, itself a FROM clause; `derived` are their SELECT lists.

    Reading it raises: RequestError naming the first derived feature that fails by itself, or gives what no table holds.
    """
    alone = {name: f"SELECT {column} FROM {source}" for (name, _), column in zip(plan.derived, derived, strict=True)}
    try:
        reader = session.batches(select, rows)
    except RequestError as error:
        raise _named(session, plan, alone, error) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _told(session, plan, reader, alone))


def _told(session: Session, plan: ServicePlan, reader: pa.RecordBatchReader, alone: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    beyond_it: str | None = None
    while beyond_it is None:
        try:
            batch = next(reader, None)
        except RequestError as error:
            raise _named(session, plan, alone, error) from error
        if batch is None:
            return
        beyond_it = next((name for name, _ in plan.derived if beyond(batch.column(name)) is not None), None)
        if beyond_it is None:
            yield batch
    # The session has one open result at most.
    del reader, batch
    raise beyond_type(beyond_it, dict(plan.derived)[beyond_it], _kind(session, alone[beyond_it]), {})


def _named(session: Session, plan: ServicePlan, alone: Mapping[str, str], error: RequestError) -> RequestError:
    """The error that names what fails by itself; the same error where that cannot be told."""
    if type(error) is not RequestError:
        return error
    for name, sql in plan.derived:
        try:
            for _ in session.batches(alone[name]):
                pass
        except RequestError as own:
            return beyond_type(name, sql, _kind(session, alone[name]), own.details)
    return error


def _kind(session: Session, select: str) -> str:
    """The DuckDB type of a SELECT of one column."""
    (kind,) = session.schema(select).values()
    return kind
