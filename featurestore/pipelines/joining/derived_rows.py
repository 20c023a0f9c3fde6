"""Derived features over the rows of a join, whose failures name the one that fails."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import RequestError


def beyond_type(name: str, sql: str, kind: str, details: Mapping[str, Any]) -> RequestError:
    """The error of a derived feature that fails on the values it is given; `details` are those of the engine's error."""
    return RequestError(
        f"the derived feature '{name}' ({sql}), which is {kind}, cannot be computed for these values: a number goes beyond its"
        " type, or a text is no value of it; CAST to a wider type, or use TRY_CAST",
        **{**details, "field": f"derived.{name}", "type": kind},
    )


def derived_rows(session: Session, plan: ServicePlan, select: str, derived: Sequence[str], source: str, rows: int) -> pa.RecordBatchReader:
    """The rows of `select`, which has the derived features over `source`, itself a FROM clause; `derived` are their SELECT lists.

    Reading it raises: RequestError naming the first derived feature that fails by itself.
    """
    try:
        reader = session.batches(select, rows)
    except RequestError as error:
        raise _named(session, plan, derived, source, error) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _told(session, plan, reader, derived, source))


def _told(
    session: Session, plan: ServicePlan, reader: pa.RecordBatchReader, derived: Sequence[str], source: str
) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except RequestError as error:
        raise _named(session, plan, derived, source, error) from error


def _named(session: Session, plan: ServicePlan, derived: Sequence[str], source: str, error: RequestError) -> RequestError:
    """The error that names what fails by itself; the same error where that cannot be told."""
    if type(error) is not RequestError:
        return error
    for (name, sql), column in zip(plan.derived, derived, strict=True):
        alone = f"SELECT {column} FROM {source}"
        try:
            for _ in session.batches(alone):
                pass
        except RequestError as own:
            return beyond_type(name, sql, next(iter(session.schema(alone).values())), own.details)
    return error
