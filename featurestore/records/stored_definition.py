"""Read stored definitions, which are not trusted: others may write to the catalog, and early releases had other checks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.compiler.check import TIME_COLUMNS, entity_problems, source_problems, view_problems
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import ttl_microseconds
from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.dsl import documents
from featurestore.dsl.problems import FieldProblem
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict

AGAIN = "apply its definition again"


@contextmanager
def conflict_if_unreadable(what: str, todo: str = AGAIN, **details: Any) -> Iterator[None]:
    """A context for code that reads stored data. Raises: Conflict naming `what` if the data are not as this store writes them."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Conflict(f"{what}, cannot be read as stored in the catalog; {todo}", **details, reason=reason) from error


def stored_view(name: str, version: int, document: Mapping[str, Any], columns: Collection[str]) -> FeatureView:
    """The view in a stored document, whose feature table has these columns; its SQL is not checked.

    Raises: Conflict naming the view if the document is not one.
    """
    with conflict_if_unreadable(f"view {name}, version {version}", view=name, version=version):
        view = documents.view(document)
        expected = [*view.entity.keys, *TIME_COLUMNS, *feature_names(view)]
        if view.name != name or len(set(expected)) < len(expected) or set(expected) != set(columns):
            raise ValueError(f"a view {view.name!r} of {expected}, in a table of {list(columns)}")
        ttl_microseconds(view)
        return view


def checked_stored_view(name: str, version: int, document: Mapping[str, Any], columns: Collection[str]) -> FeatureView:
    """As `stored_view`, with all checks of definitions. Raises: Conflict naming the view and each problem."""
    view = stored_view(name, version, document, columns)
    with conflict_if_unreadable(f"view {name}, version {version}", view=name, version=version):
        # The source of a written table has no place to read from, which is a problem only of a declared one.
        of_source = () if view.source.written else source_problems(view.source)
        problems = [*entity_problems(view.entity), *of_source, *view_problems(view)]
    if problems:
        raise _refusal(name, version, problems)
    return view


def stored_plan(document: Mapping[str, Any], of: str) -> ServicePlan:
    """The plan in a manifest or a stamp. Raises: Conflict naming `of` if it is not one."""
    with conflict_if_unreadable(f"the plan in {of}", "it was not written by this store"):
        return service_plan_from_dict(document)


def _refusal(name: str, version: int, problems: Sequence[FieldProblem]) -> Conflict:
    return Conflict(
        f"view {name}, version {version}, cannot be used as stored in the catalog: {'; '.join(map(str, problems))}."
        f" Nothing was written; {AGAIN}",
        view=name,
        version=version,
        problems=[{"field": problem.qualified_field, "message": problem.message} for problem in problems],
    )
