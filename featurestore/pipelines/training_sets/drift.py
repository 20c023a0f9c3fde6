"""How far two samples of one column lie apart, counted in the same bins."""

import math
from collections.abc import Mapping

FLOOR = 1e-4
"""An empty bin counts as this share, so that a logarithm can be taken of it."""


def psi(first: Mapping[str, int], second: Mapping[str, int]) -> float | None:
    """The population stability index: the sum over bins of (q - p) ln(q / p). None where a sample is empty.

    It is Jeffreys' divergence of binned shares; see N. Siddiqi, "Credit Risk Scorecards" (2006), and B. Yurdakul and J. Naranjo,
    "Statistical properties of the population stability index" (2020). Below 0.1 is little, above 0.25 much.
    """
    pairs = _shares(first, second)
    if pairs is None:
        return None
    floored = [(max(p, FLOOR), max(q, FLOOR)) for p, q in pairs]
    return math.fsum((q - p) * math.log(q / p) for p, q in floored)


def jensen_shannon(first: Mapping[str, int], second: Mapping[str, int]) -> float | None:
    """The Jensen-Shannon divergence in bits: 0 for equal shares, 1 for shares with nothing in common. None where a sample is empty.

    J. Lin, "Divergence measures based on the Shannon entropy" (1991).
    """
    pairs = _shares(first, second)
    if pairs is None:
        return None
    terms = [share * math.log2(2 * share / (p + q)) / 2 for p, q in pairs for share in (p, q) if share]
    return max(0.0, math.fsum(terms))


def _shares(first: Mapping[str, int], second: Mapping[str, int]) -> list[tuple[float, float]] | None:
    totals = sum(first.values()), sum(second.values())
    if not all(totals):
        return None
    return [(first.get(name, 0) / totals[0], second.get(name, 0) / totals[1]) for name in sorted({*first, *second})]
