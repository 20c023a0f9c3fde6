"""The sample standard deviation of a set of numbers as SQL: of their distances from the one in the middle, which are exact or nearly so.

Cast to doubles first, numbers that agree in their first 16 digits would all be the same. The mean is never further from the middle than
one standard deviation, so that nothing is lost when the mean of the distances is taken off. The names of what lambdas take begin with
`__fs_`, as in `exact_sums`.
"""

from functools import reduce

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT".split())
_DIGITS = 38
_ROW = "__fs_r"
_FAR = f"{2.0**600!r}::DOUBLE"


def number(value: str, kind: str) -> str:
    """A value of a DuckDB type as what `spread` takes: exact where the type is."""
    return value if kind in _INTEGERS or _is_exact(kind) else f"CAST({value} AS DOUBLE)"


def spread(values: str, kind: str) -> str:
    """SQL of the standard deviation of a sorted list of `number`s of a kind; NULL where there are fewer than two."""
    r = _ROW
    middle = f"{{'v': {r}, 'm': {r}[(len({r}) + 1) // 2]}}"
    steps = (middle, _exact(kind)) if kind in _INTEGERS or _is_exact(kind) else (middle, *_scaled())
    return f"{reduce(lambda found, step: f'list_transform({found}, lambda {r}: {step})', steps, f'[{values}]')}[1]"


def _is_exact(kind: str) -> bool:
    return kind == "HUGEINT" or (kind.startswith("DECIMAL(") and not kind.endswith("[]"))


def _exact(kind: str) -> str:
    """Distances taken before they become doubles; but where they may have more digits than the type, which doubles are near enough to."""
    r, x = _ROW, "__fs_x"
    wide = f"CAST({x} AS HUGEINT)" if kind in _INTEGERS else x
    near = f"list_transform({r}.v, lambda {x}: CAST({wide} - {r}.m AS DOUBLE))"
    far = f"list_transform({r}.v, lambda {x}: CAST({x} AS DOUBLE) - CAST({r}.m AS DOUBLE))"
    if kind in _INTEGERS:
        return f"list_stddev_samp({near})"
    digits = _DIGITS - (int(kind.rstrip(")").rpartition(",")[2]) if kind != "HUGEINT" else 0)
    fits = f"CAST({r}.v[-1] AS DOUBLE) - CAST({r}.v[1] AS DOUBLE) < 9e{digits - 1}"
    return f"list_stddev_samp(CASE WHEN {fits} THEN {near} ELSE {far} END)"


def _scaled() -> tuple[str, str]:
    """Distances of doubles, times a power of two where their squares would be infinite or zero."""
    r = _ROW
    near = f"CASE WHEN greatest(abs({r}.v[1]), abs({r}.v[-1])) > 1e150 THEN 1 / {_FAR} ELSE 1 END"
    far = f"CASE WHEN {r}.v[-1] - {r}.v[1] < 1e-140 THEN {_FAR} ELSE 1 END"
    plain = f"list_transform({r}.v, lambda __fs_x: __fs_x - {r}.m)"
    moved = f"list_transform({r}.v, lambda __fs_x: (__fs_x * {r}.p - {r}.m * {r}.p) * {r}.q)"
    distances = f"CASE WHEN {r}.p = 1 AND {r}.q = 1 THEN {plain} ELSE {moved} END"
    return f"{{'v': {r}.v, 'm': {r}.m, 'p': {near}, 'q': {far}}}", f"list_stddev_samp({distances}) / {r}.q / {r}.p"
