"""The SQL of a service's derived features. It is checked each time, since it may be read from the catalog, a manifest or a model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlglot.expressions import Expr

from featurestore.compiler.expressions import SqlProblem, parse_row, quote_name, render
from featurestore.compiler.service_plan import ServicePlan
from featurestore.compiler.zero_divisors import guard_zero_divisors
from featurestore.errors import RequestError


def derived_trees(plan: ServicePlan) -> list[Expr]:
    """The syntax trees of the derived features, in order. Raises: RequestError naming the service and the feature."""
    trees: list[Expr] = []
    for name, sql in plan.derived:
        with _name_feature(plan, name):
            trees.append(parse_row(sql))
    return trees


def derived_sql(plan: ServicePlan, scope: Mapping[str, str]) -> list[str]:
    """The SQL of the derived features. `scope` has the SQL of each name in them. Integer division by zero is NULL (see `zero_divisors`).

    Raises: as `derived_trees`.
    """
    expressions: list[str] = []
    for (name, _), tree in zip(plan.derived, derived_trees(plan), strict=True):
        with _name_feature(plan, name):
            expressions.append(render(guard_zero_divisors(tree), scope))
    return expressions


def derived_columns(plan: ServicePlan, scope: Mapping[str, str]) -> list[str]:
    """The items of a SELECT list that computes the derived features; `scope` as for `derived_sql`. Raises: as `derived_trees`."""
    return [f"{sql} AS {quote_name(name)}" for sql, (name, _) in zip(derived_sql(plan, scope), plan.derived, strict=True)]


@contextmanager
def _name_feature(plan: ServicePlan, name: str) -> Iterator[None]:
    """Raise a SqlProblem of the block as a RequestError that names the service and the feature."""
    try:
        yield
    except SqlProblem as error:
        message = f"derived feature '{name}' of service {plan.service} cannot be computed: {error}"
        raise RequestError(f"{message}. Apply the service's definition again, or log the model that carries it", field=name) from error
