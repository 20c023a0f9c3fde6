"""Parse SQL text to trees and write trees as text, within limits of size and depth, and without exhausting Python's stack."""

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

MAX_CHARACTERS = 400_000
MAX_TOKENS = 20_000
MAX_NESTING = 150
"""Limit of nested parentheses, brackets and CASEs, and of consecutive signs or NOTs."""
MAX_TREE_DEPTH = 900
"""Limit of nested operators; DuckDB's own limit is 1000."""
MAX_INDEX_WORK = 50_000
"""Limit of tokens scanned for subscripts: for each one, such as `[1]`, the parser scans all of its operand."""

FRAMES = 25_000
STACK_BYTES = 128 << 20

# sqlglot logs the user's text as a warning when it cannot parse a statement; an error reports that, and user text must not be logged.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.DSTAR, TokenType.CARET})
_OPERANDS = frozenset({*_CLOSING, TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING})
_LARGE_STACK_LOCK = threading.Lock()

_deep = threading.local()

Result = TypeVar("Result")


class SqlProblem(ValueError):
    """SQL from a user cannot be used; the message says which part and what to do instead."""


class TooMuchSql(SqlProblem):
    """SQL from a user exceeds the limits of length or depth."""


def parse_statement(sql: str) -> exp.Expr:
    """Parse one statement of any type. Raises: SqlProblem if it is not a single statement, too long, or nested too deeply."""
    if not isinstance(sql, str) or not sql.strip():
        raise SqlProblem("the SQL is empty")
    if len(sql) > MAX_CHARACTERS:
        raise TooMuchSql(f"{quote_sql(sql)} has {len(sql)} characters; the limit is {MAX_CHARACTERS}; put long lists into a table")
    if unreadable := UNREADABLE.search(sql):
        raise SqlProblem(f"{quote_sql(sql)} contains {unreadable[0]!r}, which is not a valid text character; remove it")
    tokens = _tokens(sql)
    try:
        trees = with_large_stack(lambda: Dialect.get_or_raise("duckdb").parser().parse(tokens, sql), sql)
    except SqlglotError as error:
        first = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        where = f" near {first['highlight']!r} (line {first['line']}, column {first['col']})" if first.get("highlight") else ""
        raise SqlProblem(f"{quote_sql(sql)} is not valid SQL{where}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SqlProblem):
            raise
        # The parser does not handle everything, such as an empty name.
        raise SqlProblem(f"{quote_sql(sql)} is not valid SQL") from error
    if len(trees) != 1 or trees[0] is None:
        raise SqlProblem(f"{quote_sql(sql)} is more than one statement; write one expression")
    if tree_depth(trees[0]) > MAX_TREE_DEPTH:
        raise TooMuchSql(f"{quote_sql(sql)} has more than {MAX_TREE_DEPTH} nested operators; split it, for example with columns=")
    return trees[0]


def write_sql(tree: exp.Expr, sql: str) -> str:
    """DuckDB SQL of a tree, without comments. Raises: SqlProblem if it cannot be written; `sql` is the user's text."""
    try:
        return with_large_stack(lambda: tree.sql(dialect="duckdb", comments=False, unsupported_level=ErrorLevel.IGNORE), sql)
    except (SqlglotError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SqlProblem):
            raise
        # The generator expects arguments that a call such as `date()` does not have.
        raise SqlProblem(f"{quote_sql(sql)} cannot be written as DuckDB SQL; check the arguments of its functions") from error


def quote_sql(sql: str, most: int = 400) -> str:
    """SQL quoted for a message, truncated to `most` characters."""
    return repr(sql if len(sql) <= most else sql[: most - 1] + "…")


def with_large_stack(work: Callable[[], Result], sql: str) -> Result:
    """Run `work`, and if the caller's stack is too small, run it again in a thread with a large one.

    Raises: SqlProblem if that is too small as well.
    """
    try:
        return work()
    except RecursionError as error:
        if getattr(_deep, "on", False):
            raise TooMuchSql(f"{quote_sql(sql)} is nested too deeply; split it, for example with columns= or WITH") from error
    # One at a time: the recursion limit is global, and the first to finish resets it.
    with _LARGE_STACK_LOCK:
        try:
            return _on_large_stack(work)
        except RecursionError as error:
            raise TooMuchSql(f"{quote_sql(sql)} is nested too deeply; split it, for example with columns= or WITH") from error


def tree_depth(tree: exp.Expr) -> int:
    """The depth of a tree; a chain of ANDs or of ORs counts once, as in DuckDB."""
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
    """The tokens of a text. Raises: SqlProblem if there are too many, or they are nested too deeply."""
    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except SqlglotError as error:
        raise SqlProblem(f"{quote_sql(sql)} is not valid SQL: a quote or comment is not closed, or a character is not allowed") from error
    if len(tokens) > MAX_TOKENS:
        raise TooMuchSql(f"{quote_sql(sql)} has {len(tokens)} tokens; the limit is {MAX_TOKENS}; put long lists into a table")
    deepest = row = work = 0
    operand_starts: list[int] = []
    # The start of the current operand at each depth.
    operand_start = {0: 0}
    previous = TokenType.COMMA
    for position, token in enumerate(tokens):
        token_type = token.token_type
        row = row + 1 if token_type in _PREFIXES else 0
        if token_type in _OPENING:
            operand_starts.append(operand_start[len(operand_starts)] if previous in _OPERANDS else position)
            operand_start[len(operand_starts)] = position
            if token_type == TokenType.L_BRACKET:
                work += position - operand_starts[-1]
        elif token_type in _CLOSING and operand_starts:
            start = operand_starts.pop()
            operand_start[len(operand_starts)] = start
        else:
            operand_start[len(operand_starts)] = position
        deepest = max(deepest, len(operand_starts), row)
        previous = token_type
    if work > MAX_INDEX_WORK:
        raise TooMuchSql(f"{quote_sql(sql)} has too many list subscripts, as in x[1][2]; split it, for example with columns=")
    if deepest > MAX_NESTING:
        raise TooMuchSql(f"{quote_sql(sql)} is nested {deepest} deep; the limit is {MAX_NESTING}; split it, for example with columns=")
    return tokens


def _on_large_stack(work: Callable[[], Result]) -> Result:
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        _deep.on = True
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the calling thread
            errors.append(error)

    frames, size = sys.getrecursionlimit(), threading.stack_size(STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="deep-sql")
        sys.setrecursionlimit(max(frames, FRAMES))
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(frames)
        threading.stack_size(size)
    if errors:
        raise errors[0]
    return results[0]
