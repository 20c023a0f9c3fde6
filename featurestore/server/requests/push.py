"""Rows to push to a source."""

from typing import Any

from pydantic import Field, model_validator

from featurestore.server.requests.body import Body, Record

MOST_ROWS = 100_000


class PushBody(Body):
    """Rows to push, each an object; a list alone is the same. Send an Arrow stream instead for many."""

    rows: list[Record] = Field(max_length=MOST_ROWS, description="the rows; times as ISO 8601")

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, value: Any) -> Any:
        return {"rows": value} if isinstance(value, list) else value
