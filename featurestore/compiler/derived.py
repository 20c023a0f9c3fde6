"""The SQL of a service's derived features, checked each time: it comes from a registry, a manifest or a model's stamp."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlglot.expressions import Expr

from featurestore.compiler.expressions import SqlProblem, parse_row, quoted, render
from featurestore.compiler.service_plan import ServicePlan
from featurestore.compiler.zero_divisors import guard_zero_divisors
from featurestore.errors import RequestError


def derived_trees(plan: ServicePlan) -> list[Expr]:
    """The derived features' trees, in order. Raises: RequestError naming the service and the feature."""
    found: list[Expr] = []
    for name, sql in plan.derived:
        with _told(plan, name):
            found.append(parse_row(sql))
    return found


def derived_sql(plan: ServicePlan, scope: Mapping[str, str]) -> list[str]:
    """The derived features' SQL over `scope`, SQL by name; a zero divisor ends no batch (see `forgiving`). Raises: as `derived_trees`."""
    found: list[str] = []
    for (name, _), tree in zip(plan.derived, derived_trees(plan), strict=True):
        with _told(plan, name):
            found.append(render(guard_zero_divisors(tree), scope))
    return found


def derived_columns(plan: ServicePlan, scope: Mapping[str, str]) -> list[str]:
    """A SELECT list of the derived features over `scope`. Raises: as `derived_trees`."""
    return [f"{sql} AS {quoted(name)}" for sql, (name, _) in zip(derived_sql(plan, scope), plan.derived, strict=True)]


@contextmanager
def _told(plan: ServicePlan, name: str) -> Iterator[None]:
    try:
        yield
    except SqlProblem as error:
        said = f"derived feature '{name}' of service {plan.service} cannot be computed: {error}"
        raise RequestError(f"{said}. Apply the service's definition again, or log the model that carries it", field=name) from error
