"""What policies show of encoded online rows, computed by compiled Python functions instead of the engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, cast

import orjson

from featurestore.compiler.online_policy import TIME, CompiledPolicy, compile_policy
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.scalar.row_function import RowFunction
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import CompilingEvaluator
from featurestore.online.cut_rows import CutRows, ParsedRows, Pieces, RowCutter, encode_each
from featurestore.online.json_columns import value_parser
from featurestore.online.keys import decode_key
from featurestore.online.rows import decode_time
from featurestore.online.store import EncodedRead, TableState
from featurestore.pipelines.online_lookup.view_rows import Column, ViewRows, values_of, whole_rows
from featurestore.pipelines.online_lookup.work import BRIEF, has_length, is_brief, uuids_as_text
from featurestore.values import json_encoding, times
from featurestore.values.value_types import FLOATING

MAX_WORK = 20_000
"""Most work of the functions, in expression nodes times rows; it takes about a millisecond."""
Parser = Callable[[Sequence[Any], bool], Sequence[Any]]
"""Makes values of the JSON values of a column; False: none of them is a text."""
_NULL = b"null"


class EncodedPolicies:
    """Policies in force on the views of one plan, by feature table."""

    def __init__(self, plan: ServicePlan, policies: Mapping[str, BoundPolicy], evaluator: CompilingEvaluator) -> None:
        self._uses, self._policies, self._evaluator = plan.uses, policies, evaluator
        self._views: dict[int, tuple[TableState, _EncodedPolicy | None]] = {}

    def show(self, reads: Sequence[EncodedRead], keys: Sequence[Column]) -> list[ViewRows] | None:
        """What may be seen of the rows of each view, which were read for these keys: None for a row that is hidden, and masked values.

        None if the engine has to compute it. Raises: NotReady; orjson.JSONDecodeError for invalid bytes.
        """
        shown: list[ViewRows] = []
        for index, (use, read) in enumerate(zip(self._uses, reads, strict=True)):
            seen: ViewRows | None
            if read.table is None or use.table not in self._policies:
                seen = whole_rows(read.rows)
            else:
                view = self._view(index, use, read.table)
                seen = None if view is None else view.show(keys[index], read.rows)
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
        inputs = _Inputs.of(use, compiled, table)
        function = self._evaluator.row_function(compiled.expressions, inputs.types)
        return None if function is None else _EncodedPolicy(compiled, inputs, function, table)


class _Inputs(NamedTuple):
    """What a policy reads of a row: stored values, parts of the key, and the time, in this order.

    `types` has the DuckDB type of each. `places` are those of the values, each with its parser; `parts` those of the key, with their types.
    """

    types: dict[str, str]
    places: list[int]
    parsers: list[Parser]
    parts: list[tuple[int, str]]
    reads_time: bool

    @classmethod
    def of(cls, use: ViewUse, compiled: CompiledPolicy, table: TableState) -> Self:
        """Of the policy of a view whose rows are in this table."""
        types, keys = dict(compiled.inputs), [column for column, _ in use.keys]
        # A key column is never a feature too.
        values = [name for name in types if name in table.columns]
        parts = [name for name in types if name in keys]
        time = [name for name in types if name == TIME]
        places = [table.columns.index(name) for name in values]
        return cls(
            types={name: types[name] for name in (*values, *parts, *time)},
            places=places,
            parsers=[_parser(table.value_types[place]) for place in places],
            parts=[(keys.index(name), types[name]) for name in parts],
            reads_time=bool(time),
        )

    def read(self, keys: Column, rows: Column, stored: Sequence[bytes], cut: CutRows | ParsedRows | None) -> list[Sequence[Any]] | None:
        """The columns of the stored rows; None if a key is not known from its bytes. Raises: orjson.JSONDecodeError."""
        columns: list[Sequence[Any]] = []
        if cut is not None:
            values, may_have_text = cut.read(self.places)
            columns += [parse(column, may_have_text) for parse, column in zip(self.parsers, values, strict=True)]
        if self.parts:
            decoded = [decode_key(key) for key, row in zip(keys, rows, strict=True) if row is not None and key is not None]
            known = [key for key in decoded if key is not None]
            if len(known) != len(stored):
                return None
            columns += [uuids_as_text([key[part] for key in known], sql_type) for part, sql_type in self.parts]
        if self.reads_time:
            columns.append([times.moment(decode_time(row)) for row in stored])
        return columns


class _EncodedPolicy:
    """The policy of one view for rows of one form."""

    def __init__(self, compiled: CompiledPolicy, inputs: _Inputs, function: RowFunction, table: TableState) -> None:
        self._inputs, self._function, self._work = inputs, function, compiled.work or 0
        self._most_rows = min(MAX_WORK // max(function.nodes, 1), BRIEF // max(self._work, 1))
        self._types = list(inputs.types.values())
        self._have_length = any(map(has_length, self._types))
        place_of = table.columns.index
        self._nulls = [place_of(name) for name in compiled.nulls]
        self._masked = [(place_of(name), _encoder(sql_type)) for name, sql_type in zip(compiled.masked, function.types[1:], strict=True)]
        cut = {*inputs.places, *self._nulls, *(place for place, _ in self._masked)}
        self._cutter = RowCutter(len(table.columns), cut) if cut else None
        self._one = self._cutter if not (inputs.parts or inputs.reads_time or self._have_length) else None
        if self._one is not None:
            self._read_one = [self._one.piece_of(place) for place in inputs.places]
            self._null_one = [self._one.piece_of(place) for place in self._nulls]
            self._put_one = [(self._one.piece_of(place), encode) for place, encode in self._masked]

    def show(self, keys: Column, rows: Column) -> ViewRows | None:
        """As `EncodedPolicies.show`, of this view."""
        if self._one is not None and len(rows) == 1 and (row := rows[0]) is not None:
            one = self._show_one(self._one, row)
            if one is not None:
                return one
        stored = [row for row in rows if row is not None] if None in rows else cast(Sequence[bytes], rows)
        count = len(stored)
        if not count:
            return whole_rows(rows)
        if count > self._most_rows:
            return None
        values = list(map(values_of, stored))
        cut = None if self._cutter is None else self._cutter.cut(values)
        if cut is None and self._cutter is not None:
            return None
        columns = self._inputs.read(keys, rows, stored, cut)
        if columns is None or (self._have_length and not self._is_brief(columns, count)):
            return None
        computed = self._function.evaluate(columns, count)
        if computed is None:
            return None
        visible, *masked = computed
        if cut is None or not (masked or self._nulls):
            return _place(rows, visible, [values])
        for place in self._nulls:
            cut.put(place, [_NULL] * count)
        for (place, encode), column in zip(self._masked, masked, strict=True):
            cut.put(place, encode_each(column, encode))
        return _place(rows, visible, cut.pieces())

    def _show_one(self, cutter: RowCutter, row: bytes) -> ViewRows | None:
        """As `show`, of one row of numbers, which most lookups ask for; None for one that `show` has to compute.

        Raises: orjson.JSONDecodeError.
        """
        pieces = cutter.cut_one(values_of(row))
        if pieces is None or not self._most_rows:
            return None
        columns: list[Sequence[Any]] = []
        if self._read_one:
            content = b"[%b]" % b",".join([pieces[piece] for piece in self._read_one])
            values, may_have_text = orjson.loads(content), b'"' in content
            if len(values) != len(self._read_one):
                return None
            columns = [parse([value], may_have_text) for parse, value in zip(self._inputs.parsers, values, strict=True)]
        computed = self._function.evaluate(columns, 1)
        if computed is None:
            return None
        if not computed[0][0]:
            return [None], [[piece] for piece in pieces]
        for piece in self._null_one:
            pieces[piece] = _NULL
        for (piece, encode), column in zip(self._put_one, computed[1:], strict=True):
            pieces[piece] = encode(column[0])
        return [row], [[b",".join(pieces)]]

    def _is_brief(self, columns: Sequence[Sequence[Any]], count: int) -> bool:
        inputs = {str(index): column for index, column in enumerate(zip(self._types, columns, strict=True))}
        return is_brief(self._work, inputs, count)


def _place(rows: Column, visible: Sequence[Any], pieces: Pieces) -> ViewRows:
    """The rows that may be seen, at the places of their entities."""
    if None not in rows:
        return rows if all(visible) else [row if seen else None for row, seen in zip(rows, visible, strict=True)], pieces
    seen = iter(visible)
    shown = [row if row is not None and next(seen) else None for row in rows]
    return shown, [_spread(rows, column) for column in pieces]


def _spread(rows: Column, column: Sequence[bytes]) -> Column:
    rest = iter(column)
    return [None if row is None else next(rest) for row in rows]


def _encoder(sql_type: str) -> Callable[[Any], bytes]:
    """Encodes values, or a list of them. Only floats may have no number in JSON, and are searched for that."""
    return json_encoding.dumps if sql_type in FLOATING else _dumps


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=json_encoding.to_json_value, option=json_encoding.OPTIONS)


def _parser(value_type: str) -> Parser:
    # UUIDs stay text.
    parse = None if value_type == "uuid" else value_parser(value_type)
    if parse is None:
        return lambda column, may_have_text: column
    # Floats are numbers, but for a few that have names.
    only_text = value_type == "float"

    def parse_column(column: Sequence[Any], may_have_text: bool) -> Sequence[Any]:
        return column if only_text and not may_have_text else [None if value is None else parse(value) for value in column]

    return parse_column
