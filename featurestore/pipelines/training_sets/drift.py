"""Drift measures between two samples of a column, given the counts of the same bins."""

import math
from collections.abc import Mapping

FLOOR = 1e-4
"""The fraction that an empty bin counts as, so that its logarithm is finite."""


def psi(first: Mapping[str, int], second: Mapping[str, int]) -> float | None:
    """The population stability index: the sum over bins of (q - p) ln(q / p). None if a sample is empty.

    It is Jeffreys' divergence of binned fractions; see N. Siddiqi, "Credit Risk Scorecards" (2006), and B. Yurdakul and J. Naranjo,
    "Statistical properties of the population stability index" (2020). Below 0.1 is small, above 0.25 large.
    """
    pairs = _fractions(first, second)
    if pairs is None:
        return None
    floored = [(max(p, FLOOR), max(q, FLOOR)) for p, q in pairs]
    return math.fsum((q - p) * math.log(q / p) for p, q in floored)


def jensen_shannon(first: Mapping[str, int], second: Mapping[str, int]) -> float | None:
    """The Jensen-Shannon divergence in bits: 0 for equal distributions, 1 for disjoint ones. None if a sample is empty.

    J. Lin, "Divergence measures based on the Shannon entropy" (1991).
    """
    pairs = _fractions(first, second)
    if pairs is None:
        return None
    terms = [fraction * math.log2(2 * fraction / (p + q)) / 2 for p, q in pairs for fraction in (p, q) if fraction]
    return max(0.0, math.fsum(terms))


def _fractions(first: Mapping[str, int], second: Mapping[str, int]) -> list[tuple[float, float]] | None:
    totals = sum(first.values()), sum(second.values())
    if not all(totals):
        return None
    return [(first.get(name, 0) / totals[0], second.get(name, 0) / totals[1]) for name in sorted({*first, *second})]
