"""The record of expired snapshots in a table's properties, since an expiry makes no snapshot itself."""

import json
from collections.abc import Mapping

from featurestore.values import times

EXPIRIES = "featurestore.expiries"
_MOST = 20


def with_expiry(by: str, properties: Mapping[str, str], snapshots: int) -> dict[str, str]:
    """The property after another expiry of so many snapshots; only the last 20 are kept."""
    entry = {"at": times.text(times.now()), "by": by, "snapshots": snapshots}
    return {EXPIRIES: json.dumps([*recorded_expiries(properties), entry][-_MOST:])}


def recorded_expiries(properties: Mapping[str, str]) -> list[dict[str, object]]:
    """The recorded expiries, oldest first: `at` as RFC 3339, `by`, and the number of `snapshots`."""
    entries: list[dict[str, object]] = json.loads(properties.get(EXPIRIES) or "[]")
    return entries
