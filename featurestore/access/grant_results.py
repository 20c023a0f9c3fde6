"""Grants as the store lists them."""

from dataclasses import dataclass
from datetime import datetime

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class GrantInfo(Result):
    """A grant in force: `privilege` on an object, such as `VIEW customer_orders`, to a user or group, such as `GROUP analysts`."""

    privilege: str
    on: str
    to: str
    granted: datetime
    granted_by: str | None
