"""A grant: what a user or a group may do with an object, as a definition beside the object's own."""

from dataclasses import dataclass

from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView


@dataclass(frozen=True)
class Grant:
    """A privilege on an object, for a user or group: `Grant("READ", on="VIEW customer_orders", to="GROUP analysts")`.

    `on` may be the view or service itself. Applying grants it where it is not granted yet; removing the definition revokes nothing.
    """

    privilege: str
    on: str | FeatureView | FeatureService
    to: str

    def __post_init__(self) -> None:
        for kind, word in ((FeatureView, "VIEW"), (FeatureService, "SERVICE")):
            if isinstance(self.on, kind):
                object.__setattr__(self, "on", f"{word} {self.on.name}")

    @property
    def name(self) -> str:
        """What it is called in plans and problems."""
        return f"{self.privilege} on {self.on} to {self.to}"
