"""Shares and recipients as the store lists them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from featurestore.values.result import Result

RecipientState = Literal["live", "expired", "revoked"]


@dataclass(frozen=True, eq=False)
class SharedTableInfo(Result):
    """An object in a share, such as `VIEW customer_orders`. Recipients see it as `table`, such as `features.customer_orders`."""

    table: str
    on: str
    added: datetime
    added_by: str | None


@dataclass(frozen=True, eq=False)
class ShareInfo(Result):
    """A share: tables that are shared together, with who may read them."""

    name: str
    tables: tuple[SharedTableInfo, ...]
    recipients: tuple[str, ...]
    created: datetime
    created_by: str | None


@dataclass(frozen=True, eq=False)
class RecipientKey(Result):
    """A bearer token of a recipient, without its secret. `last_used` is exact to the hour; None: never, or not recorded yet."""

    id: str
    state: RecipientState
    created: datetime
    created_by: str | None
    expires: datetime
    last_used: datetime | None = None


@dataclass(frozen=True, eq=False)
class RecipientInfo(Result):
    """Somebody outside who reads shares. `keys` are its bearer tokens, the newest first; `groups` count for policies only."""

    name: str
    shares: tuple[str, ...]
    groups: tuple[str, ...]
    state: RecipientState
    keys: tuple[RecipientKey, ...]
    created: datetime
    created_by: str | None


@dataclass(frozen=True, eq=False)
class CreatedRecipient(Result):
    """A recipient with a new bearer token. `profile` is the file that its clients read; it is not stored, and cannot be shown again."""

    recipient: RecipientInfo
    key: str
    profile: Mapping[str, Any] = field(repr=False)
