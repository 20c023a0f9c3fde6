"""Sizes in bytes as people write them: `4GB`, `512MiB`, `4Gi`, `50%` of the machine's memory."""

import os
import re

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i)?)?(?:b|bytes?)?\s*", re.IGNORECASE | re.ASCII)
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)
_POWERS = {unit: power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
LEAST_MEMORY = 1 << 20
"""Less is no memory that anything runs in: the unit was left out."""


def parse(text: str) -> int:
    """The bytes of a size: `k`, `m`, `g`, `t`, `p` are powers of 1000, with an `i` of 1024; either with a `B` or without.

    Raises: ValueError saying how sizes are written.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is no size; write it as 4GB, 512MiB or 100kB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[(unit or "").lower()])


def parse_memory(text: str) -> int:
    """The same of memory, which may also be a share of the machine's, such as `50%`. Raises: ValueError."""
    percent = _PERCENT.fullmatch(text)
    if percent is not None and 0 < float(percent[1]) <= 100:
        return int(machine_memory() * float(percent[1]) / 100)
    try:
        found = parse(text)
    except ValueError as error:
        raise ValueError(f"{text[:100]!r} is no amount of memory; write it as 4GB, 512MiB or 50% (of the machine's)") from error
    if found < LEAST_MEMORY:
        raise ValueError(f"{text[:100]!r} is under 1 MiB, in which nothing runs; write a unit, as in 4GB")
    return found


def machine_memory() -> int:
    """The bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
