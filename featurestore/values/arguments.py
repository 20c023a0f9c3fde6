"""Check the arguments of the store's methods before anything is done."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeAlias, cast

from featurestore.errors import FeatureStoreError, RequestError, brief

Known: TypeAlias = Literal["now", "then"]
KNOWN: tuple[Known, ...] = ("now", "then")
Failures: TypeAlias = Literal["raise", "return"]
Direction: TypeAlias = Literal["up", "down", "both"]
"""The sides of a lineage: what something is computed from, what is computed from it, or both."""
Snapshots: TypeAlias = Mapping[str, int | str | None] | str
"""Snapshots by feature table: an id, `@` and the name of a tag, or None for a table without rows; or one tag for all tables."""
WAIT = timedelta(minutes=10)
"""For how long a run waits for another process that works on the same table, unless it is told otherwise."""
LONGEST_WAIT = timedelta(days=1)
UNREADABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that stored text may not contain: lone surrogates, which JSON allows, and NUL."""
_ROWS = 2**31
"""Numbers of rows are smaller."""
_DIGITS = 18
_LONGEST_NAME = 2000


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """A context for code that speaks of an argument by another word: an error that does not name the argument begins with it."""
    try:
        yield
    except FeatureStoreError as error:
        if argument not in error.message:
            error.message = f"{argument}: {error.message}"
        raise


def check_text(value: Any, argument: str) -> str:
    """Check that a value is text. Raises: RequestError naming `argument`, as all functions here."""
    if not isinstance(value, str):
        raise RequestError(f"{argument}={brief(value)} is not text", field=argument)
    if unreadable := UNREADABLE.search(value):
        raise RequestError(f"{argument}={brief(value)} contains {unreadable[0]!r}, which is not a valid text character", field=argument)
    return value


def check_name(value: Any, argument: str) -> str:
    """Check that a value is text that can be part of a URL path."""
    name = check_text(value, argument)
    if not name.isprintable():
        raise RequestError(f"{argument}={brief(name)} contains characters that cannot be printed", field=argument)
    if not 0 < len(name) <= _LONGEST_NAME:
        raise RequestError(f"{argument}={brief(name)} has {len(name)} characters; names have 1 to {_LONGEST_NAME}", field=argument)
    return name


def check_flag(value: Any, argument: str) -> bool:
    """Check that a value is True or False; other values are not converted, since "no" would become True."""
    if not isinstance(value, bool):
        raise RequestError(f"{argument}={brief(value)} is neither True nor False", field=argument)
    return value


def check_known(value: Any) -> Known:
    """Check `known`: whether a join uses today's corrections, or what was known at the time."""
    if not isinstance(value, str) or value not in KNOWN:
        raise RequestError(
            f"known={brief(value)} must be 'now' (the latest correction) or 'then' (what was known at the spine's time)", field="known"
        )
    return value


def check_failures(value: Any) -> Failures:
    """Check `failures`: whether errors of views are raised or returned."""
    if not isinstance(value, str) or value not in ("raise", "return"):
        raise RequestError(f"failures={brief(value)} is neither 'raise' nor 'return'", field="failures")
    return cast(Failures, value)


def check_direction(value: Any) -> Direction:
    """Check `direction`: which side of the lineage to follow."""
    if not isinstance(value, str) or value not in ("up", "down", "both"):
        raise RequestError(f"direction={brief(value)} must be 'up' (what it is computed from), 'down' or 'both'", field="direction")
    return cast(Direction, value)


def check_age(value: Any, argument: str) -> timedelta:
    """Check that a value is an age: a timedelta of zero or more."""
    if not isinstance(value, timedelta):
        raise RequestError(f"{argument}={brief(value)} is not a timedelta, such as timedelta(days=7)", field=argument)
    if value < timedelta(0):
        raise RequestError(f"{argument} {value} is negative; give the minimum age of what to remove", field=argument)
    return value


def check_wait(value: Any) -> timedelta:
    """Check `wait`, for how long to wait for other processes: a timedelta from zero to a day."""
    if not isinstance(value, timedelta):
        raise RequestError(f"wait={brief(value)} is not a timedelta, such as timedelta(minutes=10)", field="wait")
    if not timedelta(0) <= value <= LONGEST_WAIT:
        raise RequestError(f"wait {value} is not between zero, which does not wait, and {LONGEST_WAIT.days} day", field="wait")
    return value


def check_object(value: Any, argument: str) -> Mapping[str, Any]:
    """Check that a value is an object: a mapping of text."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise RequestError(f"{argument}={brief(value)} is not an object of names and values", field=argument)
    return value


def check_objects(value: Any, argument: str) -> list[Any]:
    """Check that a value is a list, or another iterable, but text."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise RequestError(f"{argument}={brief(value)} is not a list", field=argument)
    return list(value)


def check_count(value: Any, argument: str) -> int:
    """Check that a value is a number of things, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{argument}={brief(value)} is not a number of 1 or more", field=argument)
    return value


def check_sample(value: Any) -> int | None:
    """Check `sample`, a number of rows; None for all rows."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"sample={brief(value)} is not a number of rows: give 1 or more, or leave it out for all rows", field="sample")
    return value


def check_snapshots(value: Any) -> Snapshots:
    """Check the snapshots that feature tables are pinned to (None for a table without snapshots); None becomes empty."""
    if value is None:
        return {}
    if is_tag_mark(value):
        return check_text(value, "snapshots")
    if not isinstance(value, Mapping) or not all(isinstance(check_name, str) for check_name in value):
        message = f"snapshots={brief(value)} is not a dict of feature table and snapshot, nor a tag such as '@release-2026-11'"
        raise RequestError(message, field="snapshots")
    for check_name, snapshot in value.items():
        if snapshot is not None and type(snapshot) is not int and not is_tag_mark(snapshot):
            raise RequestError(
                f"snapshots: {check_name:.100} must be a snapshot id, not {brief(snapshot)}; a tag has an @, as in @release-2026-11",
                field=f"snapshots.{check_name}",
            )
    return value


def is_tag_mark(value: Any) -> bool:
    """Whether a value is the name of a tag with its @; whether there is such a tag, only the store knows."""
    return isinstance(value, str) and value.startswith("@")


def check_column_names(value: Any, argument: str) -> list[str]:
    """Check one column name or several; returns a list."""
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return [check_text(check_name, argument) for check_name in value] if several else [check_text(value, argument)]


def check_tags(value: Any) -> dict[str, str]:
    """Check that `tags` are an object of text; None means none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise RequestError(f"tags={brief(value)} is not an object of text", field="tags")
    return {check_text(name, "tags"): check_text(text, "tags") for name, text in value.items()}


def check_version(value: Any) -> int:
    """Check a version number, which MLflow gives as text."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal() or len(str(value)) > _DIGITS:
        raise RequestError(f"version={brief(value)} is not a version number", field="version")
    return int(value)


def check_row(value: Any) -> int | None:
    """Check the number of a row, from 0; None stays None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _ROWS):
        raise RequestError(f"row={brief(value)} is not the number of a row; count from 0", field="row")
    return value
