"""Holding a view against its source as the catalog has it, without reading rows."""

from collections.abc import Mapping

from featurestore.compiler.data_checks import check_field
from featurestore.compiler.events import SOURCE
from featurestore.compiler.expressions import parse_row, quoted, render
from featurestore.dsl.check import Condition
from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError
from featurestore.pipelines import sources
from featurestore.pipelines.inspected import Inspected, failed, inspected, kind_of, misfits, name_problems, prepare
from featurestore.pipelines.parts import Parts

__all__ = ["Inspected", "inspect", "inspect_checks", "inspect_names", "prepare"]


def inspect(parts: Parts, view: FeatureView) -> Inspected:
    """Compile a checked view against its source as it is now, without reading rows."""
    with parts.engine.session() as session:
        try:
            sources.add(parts, session, view.source, None)
        except FeatureStoreError as error:
            return failed((f"source {view.source.name}", error.message))
        return inspected(session, view)


def inspect_names(parts: Parts, view: FeatureView) -> list[tuple[str, str]]:
    """(field, message) of what a view of a checked source, itself perhaps wrong, names that the source does not have."""
    with parts.engine.session() as session:
        try:
            sources.add(parts, session, view.source, None)
        except FeatureStoreError as error:
            return [(f"source {view.source.name}", error.message)]
        return name_problems(session, view)


def inspect_checks(parts: Parts, view: FeatureView, columns: Mapping[str, str]) -> list[tuple[str, str]]:
    """(field, message) of the checks of a checked view that are not true or false on a feature table's columns (name -> type)."""
    conditions = {check_field(i): check for i, check in enumerate(view.checks) if isinstance(check, Condition)}
    if not conditions:
        return []
    scope = {name: quoted(name) for name in columns}
    with parts.engine.session() as session:
        empty = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
        session.run(f"CREATE TEMP VIEW {SOURCE} AS SELECT {empty}")
        found = misfits(session, scope, [(field, check.sql) for field, check in conditions.items()])
        wrong = {field for field, _ in found}
        for field, check in conditions.items():
            if field not in wrong and (kind := kind_of(session, f"({render(parse_row(check.sql), scope)})")) != "BOOLEAN":
                found.append((field, f"{check.sql!r} is {kind or 'no expression'}, not true or false; write a condition"))
    return found
