"""API keys as the store lists them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from featurestore.values.result import Result

KeyState = Literal["live", "expired", "revoked"]


@dataclass(frozen=True, eq=False)
class ApiKey(Result):
    """An API key, without its secret. `last_used` is exact to the hour; None: never, or not recorded yet."""

    id: str
    name: str
    groups: tuple[str, ...]
    administrator: bool
    state: KeyState
    created: datetime
    created_by: str | None
    expires: datetime
    revoked: datetime | None = None
    revoked_by: str | None = None
    last_used: datetime | None = None


@dataclass(frozen=True, eq=False)
class CreatedKey(Result):
    """A new API key. `token` is what clients send; it is not stored, and cannot be shown again."""

    key: ApiKey
    token: str = field(repr=False)
