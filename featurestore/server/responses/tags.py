"""Named versions."""

from pydantic import Field

from featurestore.server.responses.answer import Answer


class NamedVersion(Answer):
    """A tag over tables."""

    name: str
    tables: dict[str, str | None] = Field(description="the snapshot of each table, null for one that had no rows")
    by: str | None
    at: str
    complete: bool = Field(description="false while Iceberg tags are missing, since a call was interrupted")
