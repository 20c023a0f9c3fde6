"""The grants in the memory of a process, which follows their registry."""

import time
from collections.abc import Callable, Iterable, Mapping

from featurestore.access.grants import Grant, GrantRecord, grants_of, grants_table
from featurestore.access.principal import Principal
from featurestore.access.privileges import GIVEN_BY, Grantee, GranteeKind, Kind, Privilege, Securable, parents
from featurestore.access.registry_follower import RegistryFollower
from featurestore.lakehouse import granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime

ANSWERS = 10_000
"""Most answers that are kept, so that a warm one is one look into a dict."""

Question = tuple[Principal, Privilege, Securable]


class GrantBook(RegistryFollower[Mapping[Grant, GrantRecord]]):
    """The grants as they were last read."""

    what = "grants"

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(runtime, grants_table(runtime.settings), clock)
        self.catalog = Securable(Kind.CATALOG, runtime.settings.catalog_name)
        self._answers: dict[Question, bool] = {}

    def records(self) -> list[GrantRecord]:
        """The grants in force, the oldest first. Raises: NotReady if they were not read lately."""
        return list(self._fresh().values())

    def allows(self, principal: Principal, privilege: Privilege, on: Securable) -> bool:
        """Whether a principal that is not an administrator has a privilege. Raises: NotReady if the grants were not read lately."""
        answers, records = self._answers, self._fresh()
        question = (principal, privilege, on)
        answer = answers.get(question)
        if answer is None:
            answer = any(
                Grant(given, place, grantee) in records
                for given in GIVEN_BY[privilege]
                for place in parents(on, self.catalog.name, self._runtime.settings.features_namespace)
                for grantee in _grantees(principal)
            )
            if len(answers) >= ANSWERS:
                answers.clear()
            answers[question] = answer
        return answer

    def knows(self, principal: Principal) -> bool:
        """Whether anything is granted to a principal or its groups. Raises: NotReady if the grants were not read lately."""
        granted = {grant.to for grant in self._fresh()}
        return any(grantee in granted for grantee in _grantees(principal))

    def _read(self, table: Table | None) -> Mapping[Grant, GrantRecord]:
        return {} if table is None else grants_of(granted.system(table, self._runtime.settings), self.catalog.name)

    def _forget(self) -> None:
        # A new dict: a thread that computes an answer from the grants before puts it into the old one.
        self._answers = {}


def _grantees(principal: Principal) -> Iterable[Grantee]:
    yield Grantee(GranteeKind.USER, principal.name)
    for group in principal.groups:
        yield Grantee(GranteeKind.GROUP, group)
