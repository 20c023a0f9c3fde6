"""Convert one item or a list of items to a tuple."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any


def as_tuple(value: Any) -> tuple[Any, ...]:
    """The items of a list as a tuple, or a single item; text and mappings are single items, as are sets, which have no order."""
    is_single = not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | AbstractSet)
    return (value,) if is_single else tuple(value)
