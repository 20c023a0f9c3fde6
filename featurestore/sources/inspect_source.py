"""Check a view against its pinned source, without reading rows."""

from collections.abc import Mapping

from featurestore.compiler.bound_view import bind_view
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.bind import Inspected, RawColumns, check_type_problems, failed_inspection, inspect_view, name_problems
from featurestore.sources.pinned_source import PinnedSource


def add_columns(runtime: Runtime, session: Session, source: PinnedSource) -> RawColumns:
    """Add the raw columns of a source, without rows, to a session. Raises: as `reading.add_source`."""
    relation = reading.add_source(runtime, session, source, rows=False).relation
    return RawColumns(relation, session.schema(relation))


def inspect_source(runtime: Runtime, view: FeatureView, source: PinnedSource | FeatureStoreError) -> Inspected:
    """Compile a checked view against its source, or against the error with which the source could not be opened."""
    owner = owner_of(view.source)
    if isinstance(source, FeatureStoreError):
        return failed_inspection(FieldProblem(owner, "", source.message))
    with runtime.engine.brief() as session:
        try:
            raw = add_columns(runtime, session, source)
            reading.require_keys(runtime, source, view.entity.keys)
        except FeatureStoreError as error:
            return failed_inspection(FieldProblem(owner, "", error.message))
        inspected = inspect_view(session, bind_view(view, list(raw.types)), raw)
    unknown = [] if inspected.events is None else reading.unknown_types(runtime, source, inspected.events.reads)
    return failed_inspection(*problems_at(owner, "format", unknown)) if unknown else inspected


def inspect_names(runtime: Runtime, view: FeatureView, source: PinnedSource | FeatureStoreError) -> list[FieldProblem]:
    """The unknown names in a view, which may have other problems; its source is checked."""
    owner = owner_of(view.source)
    if isinstance(source, FeatureStoreError):
        return [FieldProblem(owner, "", source.message)]
    with runtime.engine.brief() as session:
        try:
            raw = add_columns(runtime, session, source)
        except FeatureStoreError as error:
            return [FieldProblem(owner, "", error.message)]
        return name_problems(session, bind_view(view, list(raw.types)), raw)


def inspect_checks(runtime: Runtime, view: FeatureView, columns: Mapping[str, str]) -> list[FieldProblem]:
    """A problem for each data check that is not a condition on the feature table's columns (name -> type)."""
    with runtime.engine.brief() as session:
        return check_type_problems(session, view, columns)
