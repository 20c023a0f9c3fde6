"""Which versions of a view are kept fresh: the newest, and older ones that a served service or a logged model still reads."""

from collections.abc import Sequence

from featurestore.pipelines import models
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.registry import Applied, Registry
from featurestore.pipelines.services import resolve


def live_versions(parts: Parts, known: Registry, names: Sequence[str]) -> list[Applied]:
    """The versions of each named view to materialize, the newest first. Raises: NotFound with the nearest names."""
    newest = [known.get("view", name) for name in names]
    if all(len(known.rows["view", row.name]) == 1 for row in newest):
        return newest
    used = {use.table for service in known.names("service") for use in resolve(parts, known, service).plan.uses}
    used.update(table for event in models.listing(parts) for table in event["snapshots"])
    live: list[Applied] = []
    for row in newest:
        older = [version for version in reversed(known.rows["view", row.name]) if version.version < row.version and version.table in used]
        live.extend([row, *older])
    return live
