"""What policies show of encoded online rows, computed by compiled Python functions instead of the engine."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import orjson

from featurestore.compiler.online_policy import TIME, CompiledPolicy, compile_policy
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.scalar.row_function import RowFunction
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import CompilingEvaluator
from featurestore.online.json_columns import value_parser
from featurestore.online.keys import decode_key
from featurestore.online.rows import VERSION_BYTES, decode_time
from featurestore.online.store import TableState
from featurestore.pipelines.online_lookup.work import is_brief, uuids_as_text
from featurestore.values import json_encoding, times

MAX_WORK = 20_000
"""Most work of the functions, in expression nodes times rows; it takes about a millisecond."""

Rows = Sequence[bytes | None]


class EncodedPolicies:
    """Policies in force on the views of one plan, by feature table."""

    def __init__(self, plan: ServicePlan, policies: Mapping[str, BoundPolicy], evaluator: CompilingEvaluator) -> None:
        self._uses, self._policies, self._evaluator = plan.uses, policies, evaluator
        self._views: dict[int, tuple[TableState, _EncodedPolicy | None]] = {}

    def show(self, tables: Sequence[TableState | None], keys: Sequence[Rows], rows: Sequence[Rows]) -> list[Rows] | None:
        """What may be seen of the rows of each view, which were read for these keys: None for a row that is hidden, and masked values.

        None if the engine has to compute it. Raises: NotReady.
        """
        shown: list[Rows] = []
        for index, (use, table) in enumerate(zip(self._uses, tables, strict=True)):
            seen: Rows | None = rows[index]
            if table is not None and use.table in self._policies:
                view = self._view(index, use, table)
                seen = None if view is None else view.show(keys[index], rows[index])
            if seen is None:
                return None
            shown.append(seen)
        return shown

    def _view(self, index: int, use: ViewUse, table: TableState) -> "_EncodedPolicy | None":
        known = self._views.get(index)
        if known is None or known[0] is not table:
            known = self._views[index] = (table, self._compile(use, table))
        return known[1]

    def _compile(self, use: ViewUse, table: TableState) -> "_EncodedPolicy | None":
        compiled = compile_policy(use, self._policies[use.table], table.columns)
        if compiled.work is None:
            return None
        function = self._evaluator.row_function(compiled.expressions, dict(compiled.inputs))
        return None if function is None else _EncodedPolicy(use, compiled, function, table)


class _EncodedPolicy:
    """The policy of one view for rows of one form."""

    def __init__(self, use: ViewUse, compiled: CompiledPolicy, function: RowFunction, table: TableState) -> None:
        self._function, self._work = function, compiled.work or 0
        places = {name: index for index, name in enumerate(table.columns)}
        self._masked = [places[name] for name in compiled.masked]
        # A key column is never a feature too.
        keys = {column: index for index, (column, _) in enumerate(use.keys)}
        self._readers = [_reader(name, keys, places, table.value_types) for name, _ in compiled.inputs]
        self._types = list(compiled.inputs)
        self._reads_keys = any(name in keys for name, _ in compiled.inputs)
        self._reads_values = bool(self._masked) or any(name in places for name, _ in compiled.inputs)

    def show(self, keys: Rows, rows: Rows) -> Rows | None:
        """As `EncodedPolicies.show`, of this view. Raises: orjson.JSONDecodeError for invalid bytes."""
        present = [(place, row) for place, row in enumerate(rows) if row is not None]
        if not present:
            return rows
        if self._function.nodes * len(present) > MAX_WORK:
            return None
        raw = [self._decode(keys[place], row) for place, row in present]
        if any(key is None for key, _, _ in raw):
            return None
        values = {
            name: (sql_type, uuids_as_text(list(map(read, raw)), sql_type))
            for (name, sql_type), read in zip(self._types, self._readers, strict=True)
        }
        if not is_brief(self._work, values, len(present)):
            return None
        computed = self._function.evaluate([column for _, column in values.values()], len(present))
        if computed is None:
            return None
        visible, *masked = computed
        shown: list[bytes | None] = [None] * len(rows)
        for (place, row), (_, _, columns), seen, *new in zip(present, raw, visible, *masked, strict=True):
            if seen:
                shown[place] = row if not masked else row[:VERSION_BYTES] + self._encode(columns, new)
        return shown

    def _decode(self, key: bytes | None, row: bytes) -> "_Raw":
        """The key, the time and the JSON values of a row, as far as they are read; a key of None cannot be decoded."""
        parts = decode_key(key) if self._reads_keys and key is not None else ()
        return parts, row, orjson.loads(b"[%b]" % row[VERSION_BYTES + 1 :]) if self._reads_values else []

    def _encode(self, columns: list[Any], new: Sequence[Any]) -> bytes:
        for place, value in zip(self._masked, new, strict=True):
            columns[place] = value
        # What is stored has names in place of floats that are not finite.
        return b"," + json_encoding.dumps(columns, suspected=lambda: not all(map(_is_finite, new)))[1:-1]


_Raw = tuple[tuple[Any, ...] | None, bytes, list[Any]]


def _reader(name: str, keys: Mapping[str, int], places: Mapping[str, int], value_types: Sequence[str]) -> Callable[[_Raw], Any]:
    """Reads a column of a raw row, in its Python form."""
    if name == TIME:
        return lambda raw: times.moment(decode_time(raw[1]))
    if name in keys:
        part = keys[name]
        return lambda raw: None if raw[0] is None else raw[0][part]
    place = places[name]
    parse = value_parser(value_types[place])
    if parse is None:
        return lambda raw: raw[2][place]
    return lambda raw: None if raw[2][place] is None else parse(raw[2][place])


def _is_finite(value: Any) -> bool:
    return not isinstance(value, list | float) or (isinstance(value, float) and isfinite(value))
