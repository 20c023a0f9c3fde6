"""The exact sum of doubles of any magnitude as SQL, rounded once: limbs of 64 bits, from 2**-1074 to the greatest double.

It takes longer to bind than other expressions, so it is used only where the data need it. Lambda parameters begin with `__fs_`,
because a shorter name could also be the name of a user's column.
"""

import math
from functools import reduce

_LIMBS = 35
_WORD = 2**64
_MIN_EXPONENT = -1074
"""The exponent of the smallest positive double: the unit of the first limb is 2**_MIN_EXPONENT."""
_PARTS = ((50, 16), (28, 15), (6, 14))
"""Position of an integer number of units of 1, 2**-86 and 2**-172: (bits shifted left, limb)."""
_ROW = "__fs_r"


def exact_sum(whole: str, fraction: str, rest: str, others: str) -> str:
    """SQL of the double nearest to whole + fraction / 2**86 + rest / 2**172 + the sum of a list of finite doubles, ties to even.

    The first three are HUGEINT below 2**126 and not NULL; the list may be NULL.
    """
    r = _ROW
    limbs = f"list_transform(range(0, {_LIMBS}), lambda __fs_j: {_limb((whole, fraction, rest), others)})"
    # A sequence of steps instead of nested lambdas: DuckDB binds the body of a lambda twice, so the time doubles with each level.
    steps = (
        f"{{'l': {r}, 's': CASE WHEN ({_propagate_carries(r)}).c < 0 THEN -1 ELSE 1 END}}",
        f"{{'s': {r}.s, 'd': ({_propagate_carries(f'list_transform({r}.l, lambda __fs_y: __fs_y * {r}.s)')}).d}}",
        f"{{'s': {r}.s, 'd': {r}.d, 't': list_max(list_filter(range(1, {_LIMBS + 1}), lambda __fs_i: {r}.d[__fs_i] <> 0))}}",
        f"{{'s': {r}.s, 'd': {r}.d, 't': {r}.t, 'x': {_top_bits()}}}",
        f"{{'s': {r}.s, 'd': {r}.d, 't': {r}.t, 'x': {r}.x, 'p': {_power()}}}",
        f"CASE WHEN {r}.t IS NULL THEN 0::DOUBLE ELSE {r}.s * {_nearest_double()} END",
    )
    return f"{reduce(lambda values, step: f'list_transform({values}, lambda {r}: {step})', steps, f'[{limbs}]')}[1]"


def _units() -> str:
    """The unit of each limb, and of the one above; infinite beyond the largest double."""
    exponents = [_MIN_EXPONENT + 64 * limb for limb in range(_LIMBS + 1)]
    return f"[{', '.join(f'{math.ldexp(1.0, e)!r}::DOUBLE' if e < 1024 else chr(39) + 'inf' + chr(39) + '::DOUBLE' for e in exponents)}]"


def _limb(parts: tuple[str, ...], others: str) -> str:
    """The sum of the bits that all values have in limb `__fs_j`; the remainders of doubles are exact."""
    of_parts: dict[int, list[str]] = {}
    for part, (shift, limb) in zip(parts, _PARTS, strict=True):
        of_parts.setdefault(limb, []).append(f"{_low(part)} * {2**shift}::HUGEINT")
        of_parts.setdefault(limb + 1, []).append(f"{_high(part)} * {2**shift}::HUGEINT")
    whens = " ".join(f"WHEN {limb} THEN {' + '.join(of_parts[limb])}" for limb in sorted(of_parts))
    bits = f"trunc((__fs_v % {_units()}[__fs_j + 2]) / {_units()}[__fs_j + 1])"
    return f"coalesce(list_sum(list_transform({others}, lambda __fs_v: CAST({bits} AS HUGEINT))), 0) + CASE __fs_j {whens} ELSE 0 END"


def _propagate_carries(limbs: str) -> str:
    """Propagate carries beyond 64 bits: `d` has the limbs, each from 0 to 2**64 - 1, and `c` the final carry, -1 for a negative sum."""
    empty, total = "[]::HUGEINT[]", "__fs_a.c + __fs_b.c"
    items = f"list_prepend({{'c': 0::HUGEINT, 'd': {empty}}}, list_transform({limbs}, lambda __fs_y: {{'c': __fs_y, 'd': {empty}}}))"
    carried = f"{{'c': {_high(total)}, 'd': list_append(__fs_a.d, {_low(total)})}}"
    return f"list_reduce({items}, lambda __fs_a, __fs_b: {carried})"


def _low(number: str) -> str:
    return f"((({number}) % {_WORD} + {_WORD}) % {_WORD})"


def _high(number: str) -> str:
    """The number divided by 2**64, rounded down."""
    return f"((({number}) - {_low(number)}) // {_WORD})"


def _top_bits() -> str:
    """The top nonzero limb, and all but one bit of the next: 64 to 127 bits."""
    d, t = f"{_ROW}.d", f"{_ROW}.t"
    return f"{d}[{t}] * {2**63}::HUGEINT + CASE WHEN {t} > 1 THEN {d}[{t} - 1] // 2 ELSE 0 END"


def _power() -> str:
    """The power of two to divide by so that 55 to 63 bits remain: more than a double has, and at most a BIGINT."""
    whens = " ".join(f"WHEN {_ROW}.x >= {2 ** (bits + 55)}::HUGEINT THEN {2**bits}::HUGEINT" for bits in range(64, 8, -8))
    return f"CASE {whens} ELSE {2**8}::HUGEINT END"


def _nearest_double() -> str:
    """The double nearest to all limbs; if nonzero bits are dropped, the last kept bit is set (a sticky bit)."""
    d, t, x, p = (f"{_ROW}.{name}" for name in "dtxp")
    left_out = f"{x} % {p} <> 0 OR ({t} > 1 AND {d}[{t} - 1] % 2 <> 0) OR ({t} > 2 AND list_max({d}[1:{t} - 2]) > 0)"
    number = f"CAST(({x} // {p}) + CASE WHEN ({x} // {p}) % 2 = 0 AND ({left_out}) THEN 1 ELSE 0 END AS BIGINT)"
    return f"CAST({number} AS DOUBLE) * (CAST({p} AS DOUBLE) / {2.0**63!r}::DOUBLE) * {_units()}[{t}]"
