"""Wrong values for arguments, and the check that a call works or raises our error naming the argument."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from featurestore.errors import FeatureStoreError

LONG = "x" * 100_000
LONGEST_MESSAGE = 2_500

WRONG: Mapping[str, Any] = {
    "None": None,
    "5": 5,
    "-1": -1,
    "1.5": 1.5,
    "NaN": float("nan"),
    "True": True,
    "empty text": "",
    "x": "x",
    "bytes": b"x",
    "empty list": [],
    "[5]": [5],
    "[None]": [None],
    "[[]]": [[]],
    "set": {5},
    "empty dict": {},
    "{1: 2}": {1: 2},
    "object": object(),
    "function": lambda: 1,
    "long text": LONG,
    "quotes": "a'\"b",
    "two lines": "a\nb",
    "half a character": "\ud800",
}


def faults(call: Callable[[Any], object], named: str, wrong: Mapping[str, Any] = WRONG) -> list[str]:
    """What is amiss in how a call takes each of these values: another error than ours, or one that does not match `named`."""
    problems = []
    for what, value in wrong.items():
        try:
            call(value)
        except FeatureStoreError as error:
            if not re.search(named, str(error)):
                problems.append(f"{what}: {type(error).__name__} does not name it: {str(error)[:300]}")
            if len(str(error)) > LONGEST_MESSAGE:
                problems.append(f"{what}: a message of {len(str(error))} characters: {str(error)[:300]}")
            if not str(error).isascii() and re.search("[\ud800-\udfff]", str(error)):
                problems.append(f"{what}: a message that cannot be printed")
        except Exception as error:  # noqa: BLE001 - that it is raised at all is what is wrong
            problems.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")
    return problems
