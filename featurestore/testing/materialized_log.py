"""Compute the feature rows of views over the rows of a test, as a first materialization would store them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from featurestore.compiler import check
from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.bound_view import BoundView, bind_view, field_problems
from featurestore.compiler.chunk_rows import cast_rows, sorted_by
from featurestore.compiler.events import events_of
from featurestore.compiler.expressions import parse_query
from featurestore.compiler.log_diff import with_created_at_run
from featurestore.compiler.parameters import NAMES, SOURCE, Bounds
from featurestore.compiler.query import all_rows
from featurestore.compiler.relations import Handle
from featurestore.compiler.service_plan import ServicePlan
from featurestore.compiler.typed_columns import UNTYPED
from featurestore.compiler.views import compile_view
from featurestore.dsl.definitions import Definitions, gather, owner_of
from featurestore.dsl.problems import FieldProblem
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import ValueSession
from featurestore.errors import DefinitionError, FeatureStoreError, Problem, RequestError
from featurestore.sources.bind import Inspected, RawColumns, check_type_problems, failed_inspection, inspect_view
from featurestore.sources.query import add_query
from featurestore.testing.source_rows import Schema, add_sources, relation_names
from featurestore.values import times


@dataclass(frozen=True)
class MemoryLog:
    """The feature rows of a view: keys, feature_timestamp, created_timestamp, features, ordered by the first three."""

    table: pa.Table
    through: int
    corrected: bool = True
    deletions: bool = False
    policy: None = None

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> None:
        """None: the rows are in memory."""

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> pa.Table:
        """These columns of all rows, without pruning by time."""
        return self.table.select(columns)


@dataclass(frozen=True)
class MaterializedService:
    """A service with the logs of its views, by feature table name."""

    plan: ServicePlan
    logs: Mapping[str, MemoryLog]


def materialize_rows(
    session: ValueSession, service: FeatureService, rows: Mapping[str, Any], schema: Schema, run: int
) -> MaterializedService:
    """Materialize these source rows with a run at the time `run`, in microseconds.

    Raises: DefinitionError with all problems of all definitions, as a plan does; else as `add_sources`.
    """
    definitions = gather([service])
    problems = [*definitions.problems, *check.definition_problems(definitions)]
    if problems:
        raise DefinitionError(problems)
    relations = add_sources(session, definitions.sources, rows, schema)
    views: dict[str, ViewVersion] = {}
    logs: dict[str, MemoryLog] = {}
    for view in definitions.views:
        inspected, raw = _inspect(session, view, rows, relations)
        if inspected.problems:
            problems.extend(_explain(definitions, view, inspected))
            continue
        version = views[view.name] = ViewVersion(view, 1, inspected.columns)
        try:
            logs[version.table] = MemoryLog(_compute(session, view, inspected, raw, run), run)
        except FeatureStoreError as error:
            error.message = f"view {view.name}: {error.message}"
            raise
        problems.extend(map(definitions.locate, check_type_problems(session, view, inspected.columns)))
    if problems:
        raise DefinitionError(problems)
    return MaterializedService(bind_service(service, 1, "", views), logs)


def _explain(definitions: Definitions, view: FeatureView, inspected: Inspected) -> list[Problem]:
    """The problems of a view, with a note that its columns come from the given rows, which may be what is wrong."""
    note = f" (in the rows given for source {view.source.name})"
    return [definitions.locate(replace(problem, message=f"{problem.message}{note}")) for problem in inspected.problems]


def _inspect(
    session: ValueSession, view: FeatureView, rows: Mapping[str, Any], relations: Mapping[str, Handle]
) -> tuple[Inspected, Handle | None]:
    """Inspect a view against its source. Returns the relation with the source's raw rows, too; None if it cannot be opened."""
    try:
        raw = _open(session, view.source, {name: relations[name] for name in relation_names(view.source, rows)})
    except RequestError as error:
        return failed_inspection(FieldProblem(owner_of(view.source), "", error.message)), None
    columns = RawColumns(raw, session.schema(raw))
    bound = bind_view(view, list(columns.types))
    _refuse_untyped(bound, relation_names(view.source, rows)[0], columns.types)
    return inspect_view(session, bound, columns), raw


def _refuse_untyped(bound: BoundView, name: str, raw: Mapping[str, str]) -> None:
    """Refuse columns that the view reads and that have only NULLs, whose type is unknown; `raw` are the source's columns."""
    if field_problems(bound):
        return
    for column in events_of(bound).reads:
        if raw[column] == UNTYPED:
            raise RequestError(
                f"column '{column}' of source {bound.view.source.name} is None in every row, so its type is unknown;"
                f" give it: schema={{{name!r}: {{{column!r}: 'double'}}}}, or another type",
                field=column,
            )


def _open(session: ValueSession, source: Source, relations: Mapping[str, Handle]) -> Handle:
    if source.sql is not None:
        return add_query(session, SOURCE, parse_query(source.sql), relations, "its SQL")
    (relation,) = relations.values()
    return session.create_view(SOURCE, all_rows(relation))


def _compute(session: ValueSession, view: FeatureView, inspected: Inspected, raw: Handle | None, run: int) -> pa.Table:
    """All rows up to the run; its time is the created time of rows whose source has none."""
    if inspected.events is None or raw is None:
        raise TypeError(f"view {view.name} has problems and cannot be computed")
    bounds = Bounds(times.FIRST, run, times.FIRST, run, carry_in=False)
    compiled = compile_view(view, inspected.events, inspected.types, bounds=bounds, relations=replace(NAMES, source=raw))
    (*_, rows) = [session.create_table(name, query) for name, query in compiled.steps]
    known = all_rows(rows) if view.source.created is not None else with_created_at_run(rows, run)
    order = [*view.entity.keys, "feature_timestamp", "created_timestamp"]
    return session.batches(sorted_by(cast_rows(inspected.columns, known), order)).read_all()
