"""Write arguments into paths and bodies of requests."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from featurestore.values import times
from featurestore.values.arguments import check_age, check_name, check_text, check_wait

JOB_PATHS: Mapping[str, str] = {
    "materialization": "/v1/materializations",
    "publication": "/v1/publications",
    "verification": "/v1/verifications",
    "rebuild": "/v1/rebuilds",
    "comparison": "/v1/comparisons",
    "maintenance": "/v1/maintenance",
    "repair": "/v1/repairs",
}
"""The path of each kind of job, which its id begins with; the ids of training sets begin with their names."""


def time_text(value: datetime | str | None, argument: str) -> str | None:
    """A time as text, and text as it is, which the server reads. Raises: RequestError naming the argument."""
    if value is None or isinstance(value, str):
        return None if value is None else check_text(value, argument)
    return times.text(times.parse(value, argument))


def seconds_text(value: timedelta, argument: str) -> str:
    """An age in whole seconds. Raises: RequestError naming the argument."""
    return f"{int(check_age(value, argument).total_seconds())}s"


def wait_text(value: timedelta) -> str:
    """A wait in whole seconds. Raises: RequestError."""
    return f"{int(check_wait(value).total_seconds())}s"


def path_part(value: Any, argument: str) -> str:
    """A name, quoted as a part of a path."""
    return quote(check_name(value, argument), safe=":")
