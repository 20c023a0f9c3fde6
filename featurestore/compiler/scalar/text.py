"""Functions of text, by code points; letters of other scripts than Latin, Greek and Cyrillic change their case in the engine."""

import hashlib
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BIGINT,
    VARCHAR,
    Compiled,
    EngineNeeded,
    Maker,
    Node,
    Row,
    map_columns,
    strict_binary,
    types_of,
)

_CASED = 0x530
"""The code points up to here are Latin, Greek and Cyrillic, whose case mappings no longer change."""
_LIMIT = 2**31


def _case_table(change: Callable[[str], str]) -> Mapping[int, str]:
    """The characters that change case to one character."""
    return {code: changed for code in range(_CASED) if len(changed := change(chr(code))) == 1}


def _change_case(change: Callable[[str], str]) -> Callable[[str], str]:
    table = _case_table(change)

    def change_text(text: str) -> str:
        if text.isascii():
            return change(text)
        if any(ord(letter) not in table for letter in text):
            raise EngineNeeded
        return text.translate(table)

    return change_text


def _of_text(compute: Callable[..., Any], *arguments: Any) -> Maker:
    """A function of text, and of arguments of these types, that is NULL if one of them is."""
    types = [VARCHAR, *arguments]

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if types_of(node) != types:
            return None

        by_row = [part.by_row for part in parts]

        def evaluate(row: Row) -> Any:
            values = [evaluate_part(row) for evaluate_part in by_row]
            return None if None in values else compute(*values)

        return Compiled(evaluate, map_columns(parts, compute))

    return make


def _either(*makers: Maker) -> Maker:
    """The first of several forms of a function that a call has."""
    return lambda node, parts: next((compiled for make in makers if (compiled := make(node, parts)) is not None), None)


def substring(text: str, start: int, length: int = _LIMIT) -> str:
    """`length` characters from the position `start`, which counts from 1, or from the end if it is negative."""
    if not -_LIMIT < start < _LIMIT or not 0 <= length <= _LIMIT:
        raise EngineNeeded
    first = start - 1 if start > 0 else max(len(text) + start, 0) if start < 0 else -1
    if start < -len(text):
        raise EngineNeeded
    return text[max(first, 0) : max(first + length, 0)]


def _left(text: str, count: int) -> str:
    return text[: _check_count(count)]


def _check_count(count: int) -> int:
    if -_LIMIT < count < _LIMIT:
        return count
    raise EngineNeeded


def _right(text: str, count: int) -> str:
    count = _check_count(count)
    return text[max(len(text) - count, 0) :] if count >= 0 else text[-count:]


def _trim(text: str, strip: Callable[[str], str]) -> str:
    if text.isascii():
        return strip(text)
    raise EngineNeeded


def _concat(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """`concat`, which passes over NULLs."""
    if set(types_of(node)) != {VARCHAR}:
        return None

    by_row = [part.by_row for part in parts]

    def evaluate(row: Row) -> str:
        values = [evaluate_part(row) for evaluate_part in by_row]
        return "".join([value for value in values if value is not None])

    return Compiled(evaluate)


def _concatenate(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """`||`, which is NULL if one text is."""
    return strict_binary(parts, operator.add) if types_of(node) == [VARCHAR, VARCHAR] else None


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "upper": _of_text(_change_case(str.upper)),
        "ucase": _of_text(_change_case(str.upper)),
        "lower": _of_text(_change_case(str.lower)),
        "lcase": _of_text(_change_case(str.lower)),
        **dict.fromkeys(("length", "len", "char_length", "character_length"), _of_text(len)),
        "strlen": _of_text(lambda text: len(text.encode())),
        **dict.fromkeys(("substring", "substr"), _either(_of_text(substring, BIGINT), _of_text(substring, BIGINT, BIGINT))),
        "left": _of_text(_left, BIGINT),
        "right": _of_text(_right, BIGINT),
        "trim": _of_text(lambda text: _trim(text, lambda ascii_text: ascii_text.strip(" "))),
        "ltrim": _of_text(lambda text: _trim(text, lambda ascii_text: ascii_text.lstrip(" "))),
        "rtrim": _of_text(lambda text: _trim(text, lambda ascii_text: ascii_text.rstrip(" "))),
        **dict.fromkeys(("starts_with", "prefix", "^@"), _of_text(str.startswith, VARCHAR)),
        **dict.fromkeys(("ends_with", "suffix"), _of_text(str.endswith, VARCHAR)),
        "contains": _of_text(lambda text, sought: sought in text, VARCHAR),
        "md5": _of_text(lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()),
        "sha256": _of_text(lambda text: hashlib.sha256(text.encode()).hexdigest()),
        "concat": _concat,
        "||": _concatenate,
    }
)
