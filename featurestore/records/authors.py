"""Who changes a table, as it is recorded in the summary of each snapshot and in the properties of a new table."""

import getpass
import json
from collections.abc import Mapping

from featurestore.values import times

AUTHOR = "featurestore.by"
"""The entry of a snapshot's summary with the author of the change."""
RUN_ID = "featurestore.run-id"
"""The entry of a snapshot's summary with the id of the run that made it."""
CREATED = "featurestore.created"
"""The property of a feature table that says when and by whom it was created, as JSON."""


def author() -> str:
    """The name of the operating system's user; empty if this process has none, as in a container with an unknown user id."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def created_property(by: str) -> dict[str, str]:
    """The property of a table that is created now."""
    return {CREATED: json.dumps({"at": times.text(times.now()), "by": by})}


def creation(properties: Mapping[str, str]) -> tuple[str | None, str | None]:
    """When (RFC 3339) and by whom a table was created; None for what its properties do not say."""
    noted = json.loads(properties.get(CREATED) or "{}")
    return noted.get("at"), noted.get("by") or None
