"""Definitions as the catalog holds them: whoever can write to it may have changed them, and an earlier release checked otherwise."""

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
def reading(what: str, todo: str = AGAIN, **details: Any) -> Iterator[None]:
    """Around code that only looks at what is stored. Raises: Conflict naming `what`, where that is not what we write."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Conflict(f"{what}, cannot be read as the catalog holds it; {todo}", **details, reason=reason) from error


def view(name: str, version: int, document: Mapping[str, Any], columns: Collection[str]) -> FeatureView:
    """The view of a stored document, whose feature table has these columns; its SQL is not looked at.

    Raises: Conflict naming it, when it is none.
    """
    with reading(f"view {name}, version {version}", view=name, version=version):
        found = documents.view(document)
        told = [*found.entity.keys, *TIME_COLUMNS, *feature_names(found)]
        if found.name != name or len(set(told)) < len(told) or set(told) != set(columns):
            raise ValueError(f"a view {found.name!r} of {told}, in a table of {list(columns)}")
        ttl_microseconds(found)
        return found


def checked_view(name: str, version: int, document: Mapping[str, Any], columns: Collection[str]) -> FeatureView:
    """The same, held against all rules of today. Raises: Conflict naming the view and each field that is wrong."""
    found = view(name, version, document, columns)
    with reading(f"view {name}, version {version}", view=name, version=version):
        problems = [*entity_problems(found.entity), *source_problems(found.source), *view_problems(found)]
    if problems:
        raise _refusal(name, version, problems)
    return found


def plan(document: Mapping[str, Any], of: str) -> ServicePlan:
    """The plan in a manifest or a stamp. Raises: Conflict naming `of`, when it is none."""
    with reading(f"the plan in {of}", "what is there was not written by us"):
        return service_plan_from_dict(document)


def _refusal(name: str, version: int, problems: Sequence[FieldProblem]) -> Conflict:
    return Conflict(
        f"view {name}, version {version}, cannot be used as the catalog holds it: {'; '.join(map(str, problems))}."
        f" Nothing was written; {AGAIN}",
        view=name,
        version=version,
        problems=[{"field": problem.qualified_field, "message": problem.message} for problem in problems],
    )
