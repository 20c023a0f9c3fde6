"""Named versions to set."""

from pydantic import Field

from featurestore.server.requests.body import Body, Items


class TagBody(Body):
    """A name for the current snapshots of tables."""

    name: str = Field(description="letters, digits, `.`, `_` and `-`, as in `release-2026-11`")
    tables: Items[str] | None = Field(
        None, description="views or tables; by default every feature table, and all that views and spines read"
    )
    by: str | None = Field(None, description="who sets it; recorded. By default the caller; only an administrator may name another")
