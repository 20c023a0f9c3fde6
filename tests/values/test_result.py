"""Results: typed attributes, the reading of a dict, and the same again from their JSON form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from featurestore.values import json_encoding
from featurestore.values.result import SNAPSHOT_ID, NamedValues, Result, to_dicts

MOMENT = datetime(2026, 3, 1, 12, 0, 0, 1, UTC)
BIG = (1 << 62) + 1


@dataclass(frozen=True, eq=False)
class Part(Result):
    """A part of a result."""

    keys: tuple[str, ...]
    at: datetime | None
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)


@dataclass(frozen=True, eq=False)
class Whole(Result):
    """A result of parts."""

    name: str
    parts: tuple[Part, ...]
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    count: int = 0


WHOLE = Whole("w", (Part(("a", "b"), MOMENT, BIG), Part((), None, None)), {"t": BIG, "empty": None}, BIG)
JSON: dict[str, Any] = {
    "name": "w",
    "parts": [
        {"keys": ["a", "b"], "at": "2026-03-01T12:00:00.000001Z", "snapshot_id": str(BIG)},
        {"keys": [], "at": None, "snapshot_id": None},
    ],
    "snapshots": {"t": str(BIG), "empty": None},
    "count": BIG,
}


def test_a_result_is_typed_and_its_json_form_is_text_where_json_needs_it() -> None:
    assert (WHOLE.parts[0].at, WHOLE.parts[0].snapshot_id, WHOLE.parts[0].keys) == (MOMENT, BIG, ("a", "b"))
    assert WHOLE.to_dict() == JSON
    assert to_dicts([WHOLE]) == [JSON]
    assert json_encoding.dumps([WHOLE]) == json_encoding.dumps([JSON])


def test_a_result_comes_back_from_its_json_form() -> None:
    again = Whole.from_dict({**JSON, "of a later version": 1})
    assert again == WHOLE
    assert again.parts[0].at == MOMENT
    assert again.snapshots == {"t": BIG, "empty": None}


@pytest.mark.parametrize("wrong", [{}, {**JSON, "parts": 3}, {**JSON, "parts": [3]}, {**JSON, "count": "many"}, [], None])
def test_another_form_is_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected|missing"):
        Whole.from_dict(wrong)


def test_a_result_reads_like_a_dict() -> None:
    assert (WHOLE["name"], WHOLE["parts"][0]["snapshot_id"]) == ("w", str(BIG))
    assert ("name" in WHOLE, "other" in WHOLE, WHOLE.get("other", 7)) == (True, False, 7)
    assert list(WHOLE) == list(JSON)
    assert WHOLE == JSON
    assert WHOLE != {**JSON, "count": 0}
    assert Part((), None, None) != WHOLE
    with pytest.raises(KeyError):
        WHOLE["other"]


def test_named_values_read_like_their_mapping() -> None:
    states = NamedValues({"online store": "ok", "keys": "down"})
    assert (states["online store"], states["keys"], states.get("nothing", "?")) == ("ok", "down", "?")
    assert dict(states) == dict(**states) == states.to_dict() == {"online store": "ok", "keys": "down"}
    assert states == {"online store": "ok", "keys": "down"} != NamedValues({"keys": "down"})
    assert (list(states), len(states), "keys" in states, "values" in states) == (["online store", "keys"], 2, True, False)
    assert (list(states.keys()), list(states.values())) == (["online store", "keys"], ["ok", "down"])
    assert list(states.items()) == [("online store", "ok"), ("keys", "down")]
    with pytest.raises(KeyError, match="nothing"):
        states["nothing"]
