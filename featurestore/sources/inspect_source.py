"""Check a view against its pinned source, without reading rows."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

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


class SourceInspector:
    """Inspects views against their sources. The columns of each source are read once, into a session that its views share.

    A context manager, which closes the sessions.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stack = ExitStack()
        self._opened: list[tuple[PinnedSource, Session, RawColumns]] = []

    def inspect(self, view: FeatureView, source: PinnedSource | FeatureStoreError) -> Inspected:
        """Compile a checked view against its source, or against the error with which the source could not be opened."""
        owner = owner_of(view.source)
        try:
            session, opened, raw = self._open(source)
            reading.require_keys(self._runtime, opened, view.entity.keys)
        except FeatureStoreError as error:
            return failed_inspection(FieldProblem(owner, "", error.message))
        inspected = self._inspect(session, view, raw)
        unknown = [] if inspected.events is None else reading.unknown_types(self._runtime, opened, inspected.events.reads)
        return failed_inspection(*problems_at(owner, "format", unknown)) if unknown else inspected

    def _inspect(self, session: Session, view: FeatureView, raw: RawColumns) -> Inspected:
        """Compile a view against columns, or take what was compiled of the same view against columns of the same names and types."""
        key = (view, list(raw.types.items()))
        known = self._runtime.inspections.get(view.name)
        if known is not None and known[0] == key:
            inspected: Inspected = known[1]
            return inspected
        inspected = inspect_view(session, bind_view(view, list(raw.types)), raw)
        if not inspected.problems:
            # Problems are looked for again: a time limit is reported as one, too.
            self._runtime.inspections.keep(view.name, (key, inspected))
        return inspected

    def name_problems(self, view: FeatureView, source: PinnedSource | FeatureStoreError) -> list[FieldProblem]:
        """The unknown names in a view, which may have other problems; its source is checked."""
        try:
            session, _, raw = self._open(source)
        except FeatureStoreError as error:
            return [FieldProblem(owner_of(view.source), "", error.message)]
        return name_problems(session, bind_view(view, list(raw.types)), raw)

    def _open(self, source: PinnedSource | FeatureStoreError) -> tuple[Session, PinnedSource, RawColumns]:
        """The session with the columns of a source. Raises: the error in its place; as `add_columns`."""
        if isinstance(source, FeatureStoreError):
            raise source
        for known, session, raw in self._opened:
            if known is source:
                return session, known, raw
        session = self._stack.enter_context(self._runtime.engine.brief())
        raw = add_columns(self._runtime, session, source)
        self._opened.append((source, session, raw))
        return session, source, raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def inspect_checks(runtime: Runtime, view: FeatureView, columns: Mapping[str, str]) -> list[FieldProblem]:
    """A problem for each data check that is not a condition on the feature table's columns (name -> type)."""
    with runtime.engine.brief() as session:
        return check_type_problems(session, view, columns)
