"""Queries that compare the rows of two training sets: which they share, whose values differ, and how values are distributed."""

from collections.abc import Sequence

from sqlglot import exp

from featurestore.compiler.column_statistics import Scalar, scalar
from featurestore.compiler.query import Query, Source, all_of, cast, column, columns, expression_template, number, template, with_name

_NUMBERED = template("SELECT *, row_number() OVER (PARTITION BY $keys ORDER BY n) AS o FROM $rows")
_COMMON = template("SELECT count(*) AS common, $changed FROM $first AS a JOIN $second AS b ON $same AND a.o = b.o")
_CHANGED = expression_template("count(*) FILTER (WHERE CAST($first AS VARCHAR) IS DISTINCT FROM CAST($second AS VARCHAR))")
_BINS = template("SELECT $bin AS bin, count(*) AS n FROM $rows GROUP BY ALL")
_ABOVE = expression_template("CASE WHEN $value > $end THEN 1 ELSE 0 END")
_NUMBER_BIN = expression_template("CASE WHEN $column IS NULL THEN 'null' ELSE CAST($steps AS VARCHAR) END")
_DOUBLE_BIN = expression_template("CASE WHEN $column IS NULL THEN 'null' WHEN isnan($value) THEN 'nan' ELSE CAST($steps AS VARCHAR) END")
_TEXT = expression_template("left(CAST($column AS VARCHAR), $characters)")
_TEXT_BIN = expression_template("CASE WHEN $column IS NULL THEN 'null' WHEN $text IN ($frequent) THEN '=' || $text ELSE 'other' END")
_OTHER_BIN = expression_template("CASE WHEN $column IS NULL THEN 'null' ELSE 'other' END")
_HASHED = expression_template("coalesce($text, chr(0))")
_HASHES = template("SELECT md5_number_lower(concat_ws(chr(31), $texts)) AS h FROM $rows ORDER BY n")

Pairs = Sequence[tuple[str, str]]
"""The names of the same column in the first and in the second relation."""


def numbered_rows(rows: Source, keys: Sequence[str]) -> Query:
    """The rows, with `o` numbering those of equal keys in the order of `n`."""
    return _NUMBERED(rows=rows, keys=columns(keys))


def common_rows(first: Source, second: Source, keys: Pairs, features: Pairs) -> Query:
    """One row about two relations of `numbered_rows`: the number of `common` rows, and of those with another value of feature i as `f<i>`.

    Values are compared as text, since the type of a feature may have changed.
    """
    same = [exp.NullSafeEQ(this=column(left, "a"), expression=column(right, "b")) for left, right in keys]
    changed = [
        with_name(_CHANGED(first=column(left, "a"), second=column(right, "b")), f"f{index}") for index, (left, right) in enumerate(features)
    ]
    return _COMMON(first=first, second=second, same=all_of(same), changed=changed)


def bin_counts(rows: Source, bin_of: exp.Expr) -> Query:
    """The number of rows `n` of each bin."""
    return _BINS(rows=rows, bin=bin_of)


def number_bin(name: str, kind: Scalar, ends: Sequence[float]) -> exp.Expr:
    """The bin of a number or time, as text: how many `ends` it exceeds. NULL and NaN have separate bins."""
    value = scalar(name, kind)
    steps: exp.Expr = number(0)
    for index, end in enumerate(ends):
        step = _ABOVE(value=value.copy(), end=exp.Literal.number(end))
        steps = exp.Add(this=steps, expression=step) if index else step
    if kind == "number":
        return _DOUBLE_BIN(column=column(name), value=value, steps=steps)
    return _NUMBER_BIN(column=column(name), steps=steps)


def value_bin(name: str, frequent: Sequence[str], characters: int) -> exp.Expr:
    """The bin of any other value, as text: one for NULL, one for each frequent text, and one for all others."""
    if not frequent:
        return _OTHER_BIN(column=column(name))
    text = _TEXT(column=column(name), characters=number(characters))
    return _TEXT_BIN(column=column(name), text=text, frequent=[exp.Literal.string(value) for value in frequent])


def key_hashes(rows: Source, names: Sequence[str]) -> Query:
    """The last 8 bytes, as a little-endian number `h`, of the MD5 hash of each row's columns as text, in the order of `n`.

    NULL is character 0, and the texts are joined by character 31.
    """
    return _HASHES(rows=rows, texts=[_HASHED(text=cast(column(name), "VARCHAR")) for name in names])
