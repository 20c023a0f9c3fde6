"""What callers give to the verbs, looked at before anything is done."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias, cast

from featurestore.errors import RequestError, brief

Known: TypeAlias = Literal["now", "then"]
KNOWN: tuple[Known, ...] = ("now", "then")
Failures: TypeAlias = Literal["raise", "return"]
UNREADABLE = re.compile("[\x00\ud800-\udfff]")
"""What no text may hold that is stored: half a character, which a JSON may hold, and the end of a text in C."""
_DIGITS = 18
_LONGEST_NAME = 2000


def text(given: Any, what: str) -> str:
    """A text. Raises: RequestError naming `what`, as all here do."""
    if not isinstance(given, str):
        raise RequestError(f"{what}={brief(given)} is no text", field=what)
    if unreadable := UNREADABLE.search(given):
        raise RequestError(f"{what}={brief(given)} holds {unreadable[0]!r}, which is no character of a text", field=what)
    return given


def name(given: Any, what: str) -> str:
    """A text that can be asked for as a part of an address."""
    found = text(given, what)
    if not found.isprintable():
        raise RequestError(f"{what}={brief(found)} holds what cannot be printed", field=what)
    if not 0 < len(found) <= _LONGEST_NAME:
        raise RequestError(f"{what}={brief(found)} has {len(found)} characters; what it names has 1 to {_LONGEST_NAME}", field=what)
    return found


def flag(given: Any, what: str) -> bool:
    """True or False; what Python takes for one of them may be meant as the other, as "no" is."""
    if not isinstance(given, bool):
        raise RequestError(f"{what}={brief(given)} is neither True nor False", field=what)
    return given


def known_at(given: Any) -> Known:
    """Whether a join sees the corrections of today, or what was known at the time."""
    if not isinstance(given, str) or given not in KNOWN:
        raise RequestError(
            f"known={brief(given)} must be 'now' (the latest correction) or 'then' (what was known at the spine's time)", field="known"
        )
    return given


def on_failures(given: Any) -> Failures:
    """Whether views that fail are raised or returned."""
    if not isinstance(given, str) or given not in ("raise", "return"):
        raise RequestError(f"failures={brief(given)} is neither 'raise' nor 'return'", field="failures")
    return cast(Failures, given)


def age(given: Any, what: str) -> timedelta:
    """How old a thing must be: no time, or more."""
    if not isinstance(given, timedelta):
        raise RequestError(f"{what}={brief(given)} is no timedelta, such as timedelta(days=7)", field=what)
    if given < timedelta(0):
        raise RequestError(f"{what} {given} is negative; give how old a thing must be to go", field=what)
    return given


def snapshot_ids(given: Any) -> Mapping[str, int | None]:
    """The snapshots that feature tables are pinned to, None of a table that has none; empty when nothing is given."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise RequestError(f"snapshots={brief(given)} is not a dict of feature table and snapshot", field="snapshots")
    for name, snapshot in given.items():
        if snapshot is not None and type(snapshot) is not int:
            raise RequestError(f"snapshots: {name:.100} must be the number of a snapshot, not {brief(snapshot)}", field=f"snapshots.{name}")
    return given


def column_names(given: Any, what: str) -> list[str]:
    """One name of a column, or several."""
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    return [text(name, what) for name in given] if several else [text(given, what)]


def version_number(given: Any) -> int:
    """The number of a version, which MLflow gives as text."""
    if isinstance(given, bool) or not isinstance(given, int | str) or not str(given).isdecimal() or len(str(given)) > _DIGITS:
        raise RequestError(f"version={brief(given)} is not the number of a version", field="version")
    return int(given)
