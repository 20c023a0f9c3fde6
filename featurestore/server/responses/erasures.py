"""Certificates of erasures."""

from typing import Any

from pydantic import Field

from featurestore.server.responses.answer import Answer


class Erasure(Answer):
    """What an erasure removed, and what it left."""

    number: int | None = Field(description="null for a dry run")
    entity: str
    key_digest: str = Field(description="SHA-256 of the entity and the key")
    at: str
    by: str | None
    tables: list[dict[str, Any]] = Field(description="table, rows, files, snapshots")
    training_sets: list[dict[str, Any]] = Field(description="id, rows, digest_before, digest, models")
    online: list[str] = Field(description="the online tables that were published again")
    remaining: list[str] = Field(description="places that still have rows of the key, or may have")
    complete: bool
    finished: bool
