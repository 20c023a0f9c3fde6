"""Who asked for a job, with the privileges that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.access.principal import Principal
from featurestore.access.privileges import Kind, Privilege, Securable


@dataclass(frozen=True)
class Claim:
    """Who asked for a job, and the privileges that it needs; none are needed of an administrator."""

    principal: Principal
    needs: Sequence[tuple[Privilege, Securable]] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, which is kept with the job."""
        needs = [[str(privilege), str(on.kind), on.name] for privilege, on in self.needs]
        return {"principal": self.principal.to_dict(), "needs": needs}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Claim":
        """The claim of its JSON form."""
        needs = [(Privilege(privilege), Securable(Kind(kind), name)) for privilege, kind, name in document["needs"]]
        return cls(Principal.from_dict(document["principal"]), needs)
