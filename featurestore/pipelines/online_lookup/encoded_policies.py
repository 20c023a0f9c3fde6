"""What policies show of encoded online rows, computed by compiled Python functions instead of the engine."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

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
        self._function, self._work, self._width = function, compiled.work or 0, len(table.columns)
        places = {name: index for index, name in enumerate(table.columns)}
        self._masked = [places[name] for name in compiled.masked]
        # A key column is never a feature too.
        keys = {column: index for index, (column, _) in enumerate(use.keys)}
        self._readers = [_reader(name, sql_type, keys, places, table.value_types) for name, sql_type in compiled.inputs]
        self._types = [sql_type for _, sql_type in compiled.inputs]
        self._reads_keys = any(name in keys for name, _ in compiled.inputs)
        self._reads_values = bool(self._masked) or any(name in places for name, _ in compiled.inputs)

    def show(self, keys: Rows, rows: Rows) -> Rows | None:
        """As `EncodedPolicies.show`, of this view. Raises: orjson.JSONDecodeError for invalid bytes."""
        stored = [row for row in rows if row is not None]
        if not stored:
            return rows
        raw = None if self._function.nodes * len(stored) > MAX_WORK else self._decode(keys, rows, stored)
        if raw is None:
            return None
        columns = [read(raw) for read in self._readers]
        inputs = {str(index): column for index, column in enumerate(zip(self._types, columns, strict=True))}
        computed = self._function.evaluate(columns, len(stored)) if is_brief(self._work, inputs, len(stored)) else None
        if computed is None:
            return None
        visible, *masked = computed
        shown = iter(self._encode(raw, visible, masked))
        return [None if row is None else next(shown) for row in rows]

    def _decode(self, keys: Rows, rows: Rows, stored: Sequence[bytes]) -> "_Raw | None":
        """The rows as far as they are read; None if a key or a row is of another form than these mostly have."""
        parts: list[tuple[Any, ...]] = []
        if self._reads_keys:
            decoded = [decode_key(key) for key, row in zip(keys, rows, strict=True) if row is not None and key is not None]
            parts = [key for key in decoded if key is not None]
            if len(parts) != len(stored):
                return None
        values: list[list[Any]] = []
        if self._reads_values:
            values = orjson.loads(b"[[%b]]" % b"],[".join([row[VERSION_BYTES + 1 :] for row in stored]))
            if list(map(len, values)) != [self._width] * len(stored):
                return None
        return _Raw(parts, stored, values)

    def _encode(self, raw: "_Raw", visible: Sequence[Any], masked: Sequence[Sequence[Any]]) -> list[bytes | None]:
        if not masked:
            return [row if seen else None for row, seen in zip(raw.rows, visible, strict=True)]
        for place, column in zip(self._masked, masked, strict=True):
            for row, value in zip(raw.values, column, strict=True):
                row[place] = value
        # What is stored has names in place of floats that are not finite.
        suspected = any(isinstance(value, float) and not isfinite(value) for column in masked for value in column)
        encode = json_encoding.dumps if suspected else _dumps
        return [
            row[: VERSION_BYTES + 1] + encode(values)[1:-1] if seen else None
            for row, values, seen in zip(raw.rows, raw.values, visible, strict=True)
        ]


class _Raw(NamedTuple):
    """The keys, bytes and JSON values of rows."""

    keys: Sequence[tuple[Any, ...]]
    rows: Sequence[bytes]
    values: Sequence[list[Any]]


def _dumps(values: list[Any]) -> bytes:
    return orjson.dumps(values, default=json_encoding.to_json_value, option=json_encoding.OPTIONS)


def _reader(
    name: str, sql_type: str, keys: Mapping[str, int], places: Mapping[str, int], value_types: Sequence[str]
) -> Callable[[_Raw], Sequence[Any]]:
    """Reads a column of raw rows, in its Python form."""
    if name == TIME:
        return lambda raw: [times.moment(decode_time(row)) for row in raw.rows]
    if name in keys:
        part = keys[name]
        return lambda raw: uuids_as_text([key[part] for key in raw.keys], sql_type)
    place = places[name]
    value_type = value_types[place]
    # UUIDs stay text, and most floats have no names.
    parse = None if value_type == "uuid" else value_parser(value_type)

    def read(raw: _Raw) -> Sequence[Any]:
        column = [row[place] for row in raw.values]
        if parse is None or (value_type == "float" and not any(isinstance(value, str) for value in column)):
            return column
        return [None if value is None else parse(value) for value in column]

    return read
