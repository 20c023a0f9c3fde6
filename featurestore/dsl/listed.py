"""One thing where several may be listed."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any


def listed(given: Any) -> tuple[Any, ...]:
    """What is listed, or the one thing that is given; a set has no order and a text is one thing, so neither is a list."""
    alone = not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | AbstractSet)
    return (given,) if alone else tuple(given)
