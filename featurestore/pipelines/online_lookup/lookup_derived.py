"""Derived features of a lookup over HTTP, computed by a compiled Python function instead of the engine."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Self

from featurestore.compiler.scalar.row_function import RowFunction
from featurestore.compiler.service_plan import ServicePlan
from featurestore.pipelines.online_lookup.lookup import derived_expressions
from featurestore.pipelines.online_lookup.work import is_brief
from featurestore.records.runtime import Runtime
from featurestore.values.json_encoding import NAMES
from featurestore.values.value_types import ZONED, type_name

MAX_WORK = 20_000
"""Most work of the function, in expression nodes times rows; it takes about a millisecond."""
_PARSERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "DATE": date.fromisoformat,
        ZONED: datetime.fromisoformat,
        "DECIMAL": Decimal,
        "DOUBLE": lambda value: NAMES[value] if isinstance(value, str) else value,
        "FLOAT": lambda value: NAMES[value] if isinstance(value, str) else value,
    }
)
"""Make values of the JSON values of looked-up features, by the name of the type. Doubles have names for NaN and infinities."""
_TYPES = frozenset({"BOOLEAN", "INTEGER", "BIGINT", "VARCHAR", "UUID", *_PARSERS})
"""Types whose values are known from JSON; those that need no parser equal their JSON values."""

Columns = Mapping[str, Sequence[Any]]


class DerivedFeatures:
    """Computes the derived features of one service plan. `types` are their DuckDB types, `inputs` the looked-up features that they read."""

    def __init__(
        self, function: RowFunction, types: Sequence[str], columns: Sequence[tuple[str, str]], inputs: Sequence[str], work: int
    ) -> None:
        self._function, self._columns, self._work = function, columns, work
        self.types, self.inputs = tuple(types), tuple(inputs)

    @classmethod
    def of(cls, runtime: Runtime, plan: ServicePlan) -> Self | None:
        """The derived features of a plan; None if one of them needs the engine."""
        expressions, columns, work = derived_expressions(plan)
        if work is None or not {type_name(sql_type) for _, sql_type in columns} <= _TYPES:
            return None
        evaluator = runtime.engine.evaluator
        function = evaluator.row_function(expressions, dict(columns))
        if function is None:
            return None
        types = evaluator.types_of(expressions, {name: (sql_type, ()) for name, sql_type in columns})
        fields = dict(plan.request)
        return cls(function, types, columns, [name for name, _ in columns if name not in fields], work)

    def compute(self, fields: Columns, looked_up: Columns, rows: int) -> list[list[Any]] | None:
        """The values of each derived feature. `looked_up` has the values of `inputs` as read from JSON.

        None if the engine must compute them, since there are too many or one may fail.
        """
        if self._function.nodes * rows > MAX_WORK:
            return None
        values = {
            name: (sql_type, fields[name] if name in fields else _parse(looked_up[name], sql_type)) for name, sql_type in self._columns
        }
        if not is_brief(self._work, values, rows):
            return None
        return self._function.evaluate([column for _, column in values.values()], rows)


def _parse(column: Sequence[Any], sql_type: str) -> Sequence[Any]:
    """The values of a feature, from its JSON values."""
    parser = _PARSERS.get(type_name(sql_type))
    # Most doubles are numbers: only the names are text.
    if parser is None or not any(isinstance(value, str) for value in column):
        return column
    return [None if value is None else parser(value) for value in column]
