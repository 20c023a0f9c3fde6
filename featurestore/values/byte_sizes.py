"""Parse sizes in bytes such as `4GB`, `512MiB`, `4Gi`, and `50%` of the machine's memory."""

import os
import re

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i)?)?(?:b|bytes?)?\s*", re.IGNORECASE | re.ASCII)
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)
_POWERS = {unit: power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
MIN_MEMORY = 1 << 20
"""Nothing runs in less memory: a smaller value means that the unit was left out."""


def parse(text: str) -> int:
    """Parse a size to bytes: `k`, `m`, `g`, `t`, `p` are powers of 1000, or of 1024 with an `i`; a `B` may follow.

    Raises: ValueError saying how to write sizes.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:100]!r} is not a size; write it as 4GB, 512MiB or 100kB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[(unit or "").lower()])


def parse_memory(text: str) -> int:
    """Parse an amount of memory to bytes, as `parse`, or a percentage of the machine's such as `50%`. Raises: ValueError."""
    percent = _PERCENT.fullmatch(text)
    if percent is not None and 0 < float(percent[1]) <= 100:
        return int(machine_memory() * float(percent[1]) / 100)
    try:
        size = parse(text)
    except ValueError as error:
        raise ValueError(f"{text[:100]!r} is not an amount of memory; write it as 4GB, 512MiB or 50% (of the machine's)") from error
    if size < MIN_MEMORY:
        raise ValueError(f"{text[:100]!r} is under 1 MiB, in which nothing runs; write a unit, as in 4GB")
    return size


def machine_memory() -> int:
    """The bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
