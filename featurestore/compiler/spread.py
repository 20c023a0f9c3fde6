"""SQL of the sample standard deviation, computed from the distances to the median, which are exact or nearly so.

Casting the numbers themselves to doubles would make numbers equal that agree in their first 16 digits. The mean is at most one standard
deviation from the median, so no precision is lost when the mean of the distances is subtracted. Lambda parameters begin with `__fs_`, as
in `exact_sums`.
"""

from functools import reduce

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT".split())
_DIGITS = 38
_ROW = "__fs_r"
_FAR = f"{2.0**600!r}::DOUBLE"


def stddev_input(value: str, sql_type: str) -> str:
    """A value of a DuckDB type as input of `stddev_sql`: exact if the type is."""
    return value if sql_type in _INTEGERS or _is_exact(sql_type) else f"CAST({value} AS DOUBLE)"


def stddev_sql(values: str, sql_type: str) -> str:
    """SQL of the standard deviation of a sorted list of `stddev_input` values; NULL if there are fewer than two."""
    r = _ROW
    middle = f"{{'v': {r}, 'm': {r}[(len({r}) + 1) // 2]}}"
    steps = (middle, _exact(sql_type)) if sql_type in _INTEGERS or _is_exact(sql_type) else (middle, *_scaled_distances())
    return f"{reduce(lambda sql, step: f'list_transform({sql}, lambda {r}: {step})', steps, f'[{values}]')}[1]"


def _is_exact(sql_type: str) -> bool:
    return sql_type == "HUGEINT" or (sql_type.startswith("DECIMAL(") and not sql_type.endswith("[]"))


def _exact(sql_type: str) -> str:
    """Distances subtracted before the cast to doubles, unless they may have more digits than the type; doubles are exact enough then."""
    r, x = _ROW, "__fs_x"
    wide = f"CAST({x} AS HUGEINT)" if sql_type in _INTEGERS else x
    near = f"list_transform({r}.v, lambda {x}: CAST({wide} - {r}.m AS DOUBLE))"
    far = f"list_transform({r}.v, lambda {x}: CAST({x} AS DOUBLE) - CAST({r}.m AS DOUBLE))"
    if sql_type in _INTEGERS:
        return f"list_stddev_samp({near})"
    digits = _DIGITS - (int(sql_type.rstrip(")").rpartition(",")[2]) if sql_type != "HUGEINT" else 0)
    fits = f"CAST({r}.v[-1] AS DOUBLE) - CAST({r}.v[1] AS DOUBLE) < 9e{digits - 1}"
    return f"list_stddev_samp(CASE WHEN {fits} THEN {near} ELSE {far} END)"


def _scaled_distances() -> tuple[str, str]:
    """Distances of doubles, scaled by a power of two if their squares would be infinite or zero."""
    r = _ROW
    near = f"CASE WHEN greatest(abs({r}.v[1]), abs({r}.v[-1])) > 1e150 THEN 1 / {_FAR} ELSE 1 END"
    far = f"CASE WHEN {r}.v[-1] - {r}.v[1] < 1e-140 THEN {_FAR} ELSE 1 END"
    plain = f"list_transform({r}.v, lambda __fs_x: __fs_x - {r}.m)"
    moved = f"list_transform({r}.v, lambda __fs_x: (__fs_x * {r}.p - {r}.m * {r}.p) * {r}.q)"
    distances = f"CASE WHEN {r}.p = 1 AND {r}.q = 1 THEN {plain} ELSE {moved} END"
    return f"{{'v': {r}.v, 'm': {r}.m, 'p': {near}, 'q': {far}}}", f"list_stddev_samp({distances}) / {r}.q / {r}.p"
