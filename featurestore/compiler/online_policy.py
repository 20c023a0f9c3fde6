"""A policy as expressions over the values of rows of the online store."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from featurestore.compiler.evaluation import storable
from featurestore.compiler.expressions import column_names, parse_row, quote_name, resolve
from featurestore.compiler.linear import are_linear, expression_weight
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ViewUse
from featurestore.errors import NotReady

TIME = "feature_timestamp"


@dataclass(frozen=True)
class CompiledPolicy:
    """The SQL of a policy over rows of the online store.

    `expressions` are whether the row may be seen, and then the values of the columns `masked`; the masks of the columns `nulls` are NULL.
    They read the columns `inputs` of the raw row, each with its DuckDB type. `work` is their work per row or character, None if that is not
    linear in the size of the inputs.
    """

    expressions: tuple[str, ...]
    masked: tuple[str, ...]
    nulls: tuple[str, ...]
    inputs: tuple[tuple[str, str], ...]
    work: int | None


@lru_cache(maxsize=1024)
def compile_policy(use: ViewUse, policy: BoundPolicy, stored: tuple[str, ...]) -> CompiledPolicy:
    """The SQL that decides what a policy shows of the features of a view. `stored` are the features that the online rows have.

    Raises: NotReady for a feature that the policy does not know, so that nobody can say whether it is masked.
    """
    types = dict(policy.columns)
    if unknown := [name for name in use.columns if name not in types]:
        raise NotReady(f"{use.table} has a feature '{unknown[0]}' that is not among its recorded columns; apply its view again")
    hidden = tuple(dict.fromkeys(name for name in use.columns if name in policy.masked))
    nulls = tuple(name for name in hidden if isinstance(_mask(policy, name), exp.Null))
    masked = tuple(name for name in hidden if name not in nulls)
    trees = _trees(policy, masked)
    known = [*(column for column, _ in use.keys), TIME, *stored]
    read = {resolve(name, types) for tree in trees for name in column_names(tree)}
    inputs = tuple((name, sql_type) for name, sql_type in policy.columns if name in read and name in known)
    scope = {name: quote_name(name) for name, _ in inputs}
    # `values` takes what is not masked from the scope, which has only what masks and the filter read.
    values = [storable(policy.values([name], scope)[name], types[name]) for name in masked]
    work = expression_weight(trees) + len(values) if are_linear(trees) else None
    return CompiledPolicy((policy.visible(scope), *values), masked, nulls, inputs, work)


def _mask(policy: BoundPolicy, name: str) -> exp.Expr:
    return next(parse_row(sql) for mask, sql in policy.policy.masks if resolve(mask, dict(policy.columns)) == name)


def _trees(policy: BoundPolicy, masked: Sequence[str]) -> list[exp.Expr]:
    """The syntax trees of the filter and of the masks of these columns."""
    rows, masks = policy.policy.rows, policy.policy.masks
    texts = [*([] if rows is None else [rows]), *(sql for mask, sql in masks if resolve(mask, masked) is not None)]
    return [parse_row(sql) for sql in texts]
