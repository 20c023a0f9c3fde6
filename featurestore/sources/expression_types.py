"""Ask the engine for the types of expressions: for all of them in one query, since each query takes a millisecond."""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Handle
from featurestore.compiler.typed_columns import expressions_over
from featurestore.engine.session import Session
from featurestore.errors import RequestError


@dataclass(frozen=True)
class ExpressionTypes:
    """The DuckDB types of compiled expressions over a relation; None for one that is not defined for the types of its `columns`."""

    session: Session
    rows: Handle | Query
    columns: InitVar[Mapping[str, str]]
    _known: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self, columns: Mapping[str, str]) -> None:
        self._known.update({quote_name(name): sql_type for name, sql_type in columns.items()})

    def learn(self, expressions: Sequence[str]) -> None:
        """Ask the engine for all types at once; if one of the expressions is wrong, for each by itself."""
        distinct = [sql for sql in dict.fromkeys(expressions) if sql not in self._known]
        try:
            types: Sequence[str | None] = list(self.session.schema(expressions_over(self.rows, distinct)).values()) if distinct else []
        except RequestError:
            types = list(map(self._ask, distinct))
        self._known.update(zip(distinct, types, strict=True))

    def of(self, sql: str) -> str | None:
        """The type of one expression."""
        if sql not in self._known:
            self._known[sql] = self._ask(sql)
        return self._known[sql]

    def _ask(self, sql: str) -> str | None:
        try:
            return next(iter(self.session.schema(expressions_over(self.rows, [sql])).values()))
        except RequestError:
            return None
