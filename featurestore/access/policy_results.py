"""Policies as the store lists them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from featurestore.values.result import Result

Rule = Literal["mask", "rows", "declassify", "declassify_rows"]


@dataclass(frozen=True, eq=False)
class PolicyInfo(Result):
    """A rule in force on an object, such as `TABLE shop.customers` or `VIEW customer_profile`, for all who are in no group of `unless`.

    `column` is the masked or declassified one, None for rules of rows. `sql` is None for declassified columns, and for whoever is not an
    administrator: a mask may hold a secret.
    """

    on: str
    rule: Rule
    column: str | None
    sql: str | None
    unless: tuple[str, ...]
    applied: datetime
    applied_by: str | None
