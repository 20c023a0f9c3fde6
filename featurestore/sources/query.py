"""A SELECT over tables, made readable in a session that holds those tables under names of its own."""

from collections.abc import Mapping

from sqlglot import exp

from featurestore.compiler.expressions import SqlProblem, bound_query
from featurestore.compiler.relations import Handle
from featurestore.engine.session import Session
from featurestore.errors import RequestError


def add_query(session: Session, name: str, tree: exp.Expr, relations: Mapping[str, Handle], what: str) -> Handle:
    """Make a checked query readable as `name`; `relations` maps each table it reads to the relation that holds it.

    Raises: RequestError naming `what` and every column that no table has.
    """
    columns = {table: list(session.schema(relation)) for table, relation in relations.items()}
    try:
        query = bound_query(tree, relations, columns)
    except SqlProblem as error:
        raise RequestError(f"{what} cannot be used: {error}") from error
    return session.create_view(name, query)
