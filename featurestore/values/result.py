"""What a method of the store returns: an object with typed attributes, which can also be read like its JSON form."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from featurestore.values import times

SNAPSHOT_ID: Mapping[str, Any] = {"snapshot id": True}
"""Metadata of fields with snapshot ids: text in JSON, since many JSON readers round integers of this size."""

ValueT = TypeVar("ValueT")


class Result:
    """The base of frozen dataclasses that the store returns.

    Attributes are typed: times are datetimes, snapshot ids are integers. `result["name"]` reads like `to_dict()`, and a result equals
    the dict of its JSON form, so that programs written when methods returned dicts work as before. It is not a Mapping: `keys` and
    `values` are names of fields. Subclasses are declared with `eq=False`, to keep this equality.
    """

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: times as RFC 3339, snapshot ids as text."""
        return {item.name: _to_json(getattr(self, item.name), "snapshot id" in item.metadata) for item in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The result of its JSON form; fields that are unknown here are ignored. Raises: ValueError for another form."""
        # Imported here, since commands that print results do not need it.
        import msgspec  # noqa: PLC0415

        return msgspec.convert(document, cls, strict=False)

    def get(self, name: str, default: Any = None) -> Any:
        """A field of the JSON form; `default` if there is none."""
        return self.to_dict().get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __contains__(self, name: object) -> bool:
        return name in self.to_dict()

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Result):
            return type(self) is type(other) and self.to_dict() == other.to_dict()
        return self.to_dict() == other if isinstance(other, dict) else NotImplemented

    # As a dict, which it equals.
    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class NamedValues(Result, Generic[ValueT]):
    """The base of results whose entries have names that are known only at run time, or are not names of attributes.

    It reads like the mapping `entries`, with `keys`, `values` and `items`, so `dict(result)` and `**result` work too.
    """

    entries: Mapping[str, ValueT]

    def to_dict(self) -> dict[str, Any]:
        """The entries, as a dict."""
        return dict(self.entries)

    def keys(self) -> KeysView[str]:
        """The names of the entries."""
        return self.entries.keys()

    def values(self) -> ValuesView[ValueT]:
        """The entries without their names."""
        return self.entries.values()

    def items(self) -> ItemsView[str, ValueT]:
        """The entries with their names."""
        return self.entries.items()

    def get(self, name: str, default: Any = None) -> Any:
        """An entry; `default` if there is none of this name."""
        return self.entries.get(name, default)

    def __getitem__(self, name: str) -> ValueT:
        return self.entries[name]

    def __len__(self) -> int:
        return len(self.entries)


def to_dicts(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The JSON-ready forms of several results."""
    return [result.to_dict() for result in results]


def _to_json(value: Any, snapshot: bool) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, datetime):
        return times.text(times.micros(value))
    if isinstance(value, Mapping):
        return {name: _to_json(item, snapshot) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_to_json(item, snapshot) for item in value]
    return str(value) if snapshot and isinstance(value, int) else value
