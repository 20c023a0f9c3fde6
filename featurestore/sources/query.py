"""Add a user's SELECT to a session as a view over relations that stand for the tables it names."""

from collections.abc import Mapping

from featurestore.compiler.expressions import SqlProblem, bound_query
from featurestore.compiler.query import Tree
from featurestore.compiler.relations import Handle
from featurestore.engine.session import Session
from featurestore.errors import RequestError


def add_query(session: Session, name: str, tree: Tree, relations: Mapping[str, Handle], what: str) -> Handle:
    """Add a checked query as the view `name`; `relations` maps the tables that it reads to relations of the session.

    Raises: RequestError naming `what` and every unknown column.
    """
    columns = {table: list(session.schema(relation)) for table, relation in relations.items()}
    try:
        query = bound_query(tree, relations, columns)
    except SqlProblem as error:
        raise RequestError(f"{what} cannot be used: {error}") from error
    return session.create_view(name, query)
