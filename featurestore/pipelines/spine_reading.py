"""Reading a spine from where the caller has it: memory, files, an Iceberg table, or SQL over Iceberg tables."""

import os
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import SqlProblem, parse_query, query_tables
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.pipelines import frames
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.query import add_query
from featurestore.pipelines.spine import Spine, fitted


def read(parts: Parts, given: Any, plan: ServicePlan, timestamp: str) -> Spine:
    """The spine of a service. Raises: RequestError and TypeMismatch naming the column that is missing, misnamed or of
    a wrong type; NotFound for a file or table that does not exist.
    """
    return fitted(rows_of(parts, given), plan, timestamp)


def rows_of(parts: Parts, given: Any) -> pa.Table:
    """A spine as the caller has it, as one table: a frame, Arrow, a list of dicts, a path, an Iceberg table or SQL."""
    table = frames.in_memory(given)
    return _named(parts, os.fspath(given).strip()) if table is None else table


def _named(parts: Parts, text: str) -> pa.Table:
    if text.startswith("iceberg:"):
        name, _, snapshot = text.removeprefix("iceberg:").partition("@")
        table = tables.load(parts.catalog, name)
        with parts.engine.session() as session:
            session.add("spine", scans.scan(table, _snapshot_id(table, snapshot)))
            return session.batches("SELECT * FROM spine").read_all()
    if frames.is_query(text):
        try:
            tree = parse_query(text)
            relations = {name: f"spine_{index}" for index, name in enumerate(query_tables(tree))}
        except SqlProblem as error:
            raise RequestError(f"the spine's SQL cannot be used: {error}") from error
        with parts.engine.session() as session:
            for name, relation in relations.items():
                table = tables.load(parts.catalog, name)
                session.add(relation, scans.scan(table, tables.current_snapshot_id(table)))
            add_query(session, "spine", tree, relations, "the spine's SQL")
            return session.batches("SELECT * FROM spine").read_all()
    return frames.of_files(text)


def _snapshot_id(table: tables.Table, text: str) -> int | None:
    if not text:
        return tables.current_snapshot_id(table)
    known = [str(snapshot) for snapshot in tables.snapshot_ids(table)]
    if text not in known:
        raise NotFound("snapshot", text, known, ".".join(table.name()))
    return int(text)
