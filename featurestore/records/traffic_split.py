"""How the requests to a model are split among aliases: by a stable hash of a record's entity keys, the same in every process and language.

The bytes that are hashed are netstrings, `<length>:<UTF-8>,`, of the model's name and of each key's text, in the order of the names of the
key columns; a missing key or NULL is `-,`. The text is that of the value's JSON form, without quotes. The first eight bytes of their
SHA-256, as a big-endian number, modulo 10,000, are the record's place. Aliases in order of their names take consecutive places, a hundred
for each percent.
"""

import bisect
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import accumulate
from typing import Any

from featurestore.errors import RequestError, TypeMismatch, brief
from featurestore.values import json_encoding
from featurestore.values.arguments import check_name
from featurestore.values.coercion import coerce
from featurestore.values.row_places import RECORDS, RowPlaces

PLACES = 10_000
"""Places of a split: a hundredth of a percent each."""
MOST_ALIASES = 8
"""Aliases of a split, shadows included: a server keeps as many models in memory."""


@dataclass(frozen=True)
class TrafficSplit:
    """A split of the requests to a model that name neither version nor alias.

    `places` are the aliases that answer, by name, with how many of the PLACES each has; `shadow` those that are also scored. `keys` are
    the key columns that are hashed, by name, with their DuckDB types. `versions` had the aliases when the split was set.
    """

    model: str
    places: Mapping[str, int]
    shadow: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]

    @cached_property
    def _bounds(self) -> tuple[list[str], list[int]]:
        names = sorted(alias for alias, places in self.places.items() if places)
        return names, list(accumulate(self.places[alias] for alias in names))

    @property
    def answering(self) -> list[str]:
        """The aliases that get records, by name."""
        return self._bounds[0]

    @property
    def weights(self) -> dict[str, float]:
        """The percentage of each alias."""
        return {alias: places * 100 / PLACES for alias, places in self.places.items()}

    def arm_of(self, record: Mapping[str, Any], row: int = 0, places: RowPlaces = RECORDS) -> str:
        """The alias that answers a record. Raises: TypeMismatch naming the row and the key column."""
        names, bounds = self._bounds
        if len(names) == 1:
            return names[0]
        return names[bisect.bisect_right(bounds, place_of(self.model, self._texts(record, row, places)))]

    def substitute(self, gone: Sequence[str]) -> str | None:
        """The alias that answers in place of those that are gone: the one with the most records; None if none is left."""
        left = [alias for alias in self.answering if alias not in gone]
        return max(left, key=lambda alias: self.places[alias], default=None)

    def _texts(self, record: Mapping[str, Any], row: int = 0, places: RowPlaces = RECORDS) -> list[str | None]:
        try:
            return [_text(record.get(name), sql_type, name) for name, sql_type in self.keys]
        except TypeMismatch:
            # Only now each key gets its place, which takes longer than to convert it.
            return [_text(record.get(name), sql_type, places.of_field(row, name)) for name, sql_type in self.keys]


def place_of(model: str, keys: Sequence[str | None]) -> int:
    """The place of a record with these texts of its keys, None for NULL, in the order of the names of the key columns."""
    digest = hashlib.sha256(b"".join(map(_netstring, (model, *keys)))).digest()
    return int.from_bytes(digest[:8], "big") % PLACES


def check_weights(weights: Any) -> dict[str, int]:
    """The places of each alias of `{"champion": 90, "challenger": 10}`. Raises: RequestError."""
    if not isinstance(weights, Mapping):
        raise RequestError(f"weights={brief(weights)} is not an object of aliases with their percentages", field="weights")
    places = {check_name(alias, "weights"): _places(alias, weight) for alias, weight in weights.items()}
    total = sum(places.values())
    if places and total != PLACES:
        shown = ", ".join(f"{alias}={places[alias] / 100:g}" for alias in places)
        raise RequestError(f"weights: {shown} add up to {total / 100:g}; they must add up to 100", field="weights")
    return dict(sorted(places.items()))


def check_shadow(shadow: Any) -> tuple[str, ...]:
    """The aliases that are also scored, but never returned: each once, by name. Raises: RequestError."""
    names = [shadow] if isinstance(shadow, str) else shadow
    if not isinstance(names, Sequence | set | frozenset):
        raise RequestError(f"shadow={brief(shadow)} is neither an alias nor a list of aliases", field="shadow")
    return tuple(sorted({check_name(alias, "shadow") for alias in names}))


def _places(alias: str, weight: Any) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int | float | Decimal) or not math.isfinite(weight) or not 0 <= weight <= 100:
        raise RequestError(f"weights: {alias}={brief(weight)} is not a percentage from 0 to 100", field=f"weights.{alias}")
    places = Decimal(str(weight)) * PLACES / 100
    if places != int(places):
        raise RequestError(f"weights: {alias}={brief(weight)} has more than two digits after the point", field=f"weights.{alias}")
    return int(places)


def _text(value: Any, sql_type: str, where: str) -> str | None:
    """The text of a key's value; None for NULL."""
    coerced = coerce(value, sql_type, where)
    if coerced is None or isinstance(coerced, str):
        return coerced
    return json_encoding.dumps(coerced).decode().strip('"')


def _netstring(text: str | None) -> bytes:
    content = b"" if text is None else text.encode()
    return b"-," if text is None else b"%d:%b," % (len(content), content)
