"""The names that stand anywhere in the texts of a view: a column that is not among them is not in what the view computes."""

from collections.abc import Iterator

from sqlglot import exp

from featurestore.compiler.expressions import SqlProblem, parse_query, parse_row
from featurestore.compiler.features import WindowedFeature, features_of
from featurestore.dsl.view import FeatureView
from featurestore.values.table_names import folded

ANY = "*"
"""Stands for every name: of `SELECT *`, of joins and lists of columns that go by what a table has, and of unreadable text."""


def mentioned_names(view: FeatureView) -> frozenset[str]:
    """The names in a view and its source, as names are compared, with those of features, tables and aliases; and perhaps ANY."""
    source = view.source
    names = {folded(name) for name in (*view.entity.keys, source.timestamp, source.created or "")}
    try:
        for text in _row_texts(view):
            names |= _names_in(parse_row(text))
        if source.sql is not None:
            names |= _names_in(parse_query(source.sql))
    except SqlProblem:
        names.add(ANY)
    return frozenset(names)


def _row_texts(view: FeatureView) -> Iterator[str]:
    yield from view.source.columns.values()
    if view.source.where is not None:
        yield view.source.where
    for feature in features_of(view):
        texts = (feature.aggregation.column, feature.aggregation.where) if isinstance(feature, WindowedFeature) else (feature.sql,)
        yield from (text for text in texts if text is not None)


def _names_in(tree: exp.Expr) -> set[str]:
    names: set[str] = set()
    for node in tree.walk():
        is_list = isinstance(node, exp.TableAlias) and node.args.get("columns")
        is_star = isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count)
        if is_list or is_star or (isinstance(node, exp.Join) and node.args.get("method")):
            names.add(ANY)
        elif isinstance(node, exp.Identifier):
            names.add(folded(node.name))
    return names
