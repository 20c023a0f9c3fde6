"""SQL text becomes a tree and a tree becomes text, within limits of size and depth, and never by more Python frames than there are."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from featurestore.values.arguments import UNREADABLE

MOST_CHARACTERS = 400_000
MOST_TOKENS = 20_000
DEEPEST = 150
"""How many parentheses, brackets and CASEs may stand inside one another, and how many signs or NOTs in a row."""
DEEPEST_TREE = 900
"""How many operators may stand inside one another; the engine gives up at 1000."""
MOST_INDEX_WORK = 50_000
"""For each position of a list, such as `[1]`, the parser looks at all that it is a position of: so many tokens in all."""

FRAMES = 25_000
STACK_BYTES = 128 << 20

# It warns with the user's text where it gives up on a statement; that is told by an error, and a log is no place for it.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.DSTAR, TokenType.CARET})
_OPERANDS = frozenset({*_CLOSING, TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING})
_ROOM = threading.Lock()

_deep = threading.local()

Made = TypeVar("Made")


class SqlProblem(ValueError):
    """SQL from a user cannot be used; the message says which part and what to do instead."""


class TooMuchSql(SqlProblem):
    """SQL from a user is longer or deeper than SQL may be."""


def parse(sql: str) -> exp.Expr:
    """The tree of one statement, whatever it is. Raises: SqlProblem when it is not one, too long or nested too deeply."""
    if not isinstance(sql, str) or not sql.strip():
        raise SqlProblem("the SQL is empty")
    if len(sql) > MOST_CHARACTERS:
        raise TooMuchSql(f"{shown(sql)} has {len(sql)} characters, and SQL may have {MOST_CHARACTERS}; put what it lists into a table")
    if unreadable := UNREADABLE.search(sql):
        raise SqlProblem(f"{shown(sql)} holds {unreadable[0]!r}, which is no character of a text; take it out")
    tokens = _tokens(sql)
    try:
        trees = with_room(lambda: Dialect.get_or_raise("duckdb").parser().parse(tokens, sql), sql)
    except SqlglotError as error:
        first = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        where = f" near {first['highlight']!r} (line {first['line']}, column {first['col']})" if first.get("highlight") else ""
        raise SqlProblem(f"{shown(sql)} is not valid SQL{where}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SqlProblem):
            raise
        # What the parser takes for granted, such as that a name is not empty.
        raise SqlProblem(f"{shown(sql)} is not valid SQL") from error
    if len(trees) != 1 or trees[0] is None:
        raise SqlProblem(f"{shown(sql)} is more than one statement; write one expression")
    if tree_depth(trees[0]) > DEEPEST_TREE:
        raise TooMuchSql(f"{shown(sql)} has more than {DEEPEST_TREE} operators inside one another; divide it, such as into columns=")
    return trees[0]


def write(tree: exp.Expr, sql: str) -> str:
    """DuckDB SQL of a tree without comments. Raises: SqlProblem when it has no such form; `sql` is what the user wrote."""
    try:
        return with_room(lambda: tree.sql(dialect="duckdb", comments=False, unsupported_level=ErrorLevel.IGNORE), sql)
    except (SqlglotError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SqlProblem):
            raise
        # The writer takes arguments for granted that a call such as `date()` does not have.
        raise SqlProblem(f"{shown(sql)} cannot be written as SQL of the engine; look at the arguments of its functions") from error


def shown(sql: str, most: int = 400) -> str:
    """SQL as a message quotes it."""
    return repr(sql if len(sql) <= most else sql[: most - 1] + "…")


def with_room(work: Callable[[], Made], sql: str) -> Made:
    """What `work` returns; where the caller's stack is too small for it, it is done on a large one.

    Raises: SqlProblem when that too is too small.
    """
    try:
        return work()
    except RecursionError as error:
        if getattr(_deep, "on", False):
            raise TooMuchSql(f"{shown(sql)} is nested too deeply; divide it, such as into columns= or WITH") from error
    # One at a time: the limit is the whole process's, and whoever ends first takes it back.
    with _ROOM:
        try:
            return _on_large_stack(work)
        except RecursionError as error:
            raise TooMuchSql(f"{shown(sql)} is nested too deeply; divide it, such as into columns= or WITH") from error


def tree_depth(tree: exp.Expr) -> int:
    """How many nodes stand inside one another; a chain of ANDs or of ORs counts once, as in the engine."""
    deepest = 0
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        for child in node.iter_expressions():
            chained = isinstance(node, exp.And | exp.Or) and type(child) is type(node)
            waiting.append((child, depth if chained else depth + 1))
    return deepest


def _tokens(sql: str) -> list[Token]:
    """The words and signs of a text. Raises: SqlProblem when there are too many of them, or too many inside one another."""
    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except SqlglotError as error:
        raise SqlProblem(f"{shown(sql)} is not valid SQL: a quote or a comment is not closed, or a sign is not one of SQL") from error
    if len(tokens) > MOST_TOKENS:
        raise TooMuchSql(f"{shown(sql)} has {len(tokens)} words and signs, and SQL may have {MOST_TOKENS}; put what it lists into a table")
    deepest = row = work = 0
    opened: list[int] = []
    # Where the operand begins that ends here, for each depth.
    begun = {0: 0}
    before = TokenType.COMMA
    for place, token in enumerate(tokens):
        kind = token.token_type
        row = row + 1 if kind in _PREFIXES else 0
        if kind in _OPENING:
            opened.append(begun[len(opened)] if before in _OPERANDS else place)
            begun[len(opened)] = place
            if kind == TokenType.L_BRACKET:
                work += place - opened[-1]
        elif kind in _CLOSING and opened:
            start = opened.pop()
            begun[len(opened)] = start
        else:
            begun[len(opened)] = place
        deepest = max(deepest, len(opened), row)
        before = kind
    if work > MOST_INDEX_WORK:
        raise TooMuchSql(f"{shown(sql)} takes too many positions of lists, as in x[1][2]; divide it, such as into columns=")
    if deepest > DEEPEST:
        raise TooMuchSql(f"{shown(sql)} is nested {deepest} deep, and SQL may be nested {DEEPEST} deep; divide it, such as into columns=")
    return tokens


def _on_large_stack(work: Callable[[], Made]) -> Made:
    done: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        _deep.on = True
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
            failed.append(error)

    frames, size = sys.getrecursionlimit(), threading.stack_size(STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="deep-sql")
        sys.setrecursionlimit(max(frames, FRAMES))
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(frames)
        threading.stack_size(size)
    if failed:
        raise failed[0]
    return done[0]
