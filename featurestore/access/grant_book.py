"""The grants in the memory of a process, which follows their registry."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from featurestore.access.grants import Grant, GrantRecord, grants_of, grants_table
from featurestore.access.principal import Principal
from featurestore.access.privileges import GIVEN_BY, Grantee, GranteeKind, Privilege, Securable, parents
from featurestore.errors import NotReady
from featurestore.lakehouse import granted, tables
from featurestore.records.runtime import Runtime
from featurestore.settings import CATALOG_NAME

KEPT_SECONDS = 300.0
"""How long grants hold in memory while the catalog cannot be reached: a revocation would not be seen."""
ANSWERS = 10_000
"""Most answers that are kept, so that a warm one is one look into a dict."""

Question = tuple[Principal, Privilege, Securable]


class GrantBook:
    """The grants as they were last read. `refresh` looks at the table's pointer in the catalog, and reads it again only if that moved.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime, self._clock = runtime, clock
        self._lock = threading.Lock()
        self._read_at: str | None = ""
        self._records: Mapping[Grant, GrantRecord] | None = None
        self._answers: dict[Question, bool] = {}
        self._looked = -KEPT_SECONDS

    def refresh(self) -> None:
        """Read what has changed. Raises: NotReady."""
        with self._lock:
            identifier = grants_table(self._runtime.settings)
            began = self._clock()
            pointer = tables.pointer(self._runtime.catalog, identifier)
            if pointer != self._read_at or self._records is None:
                table = None if pointer is None else tables.find(self._runtime.catalog, identifier)
                self._records = {} if table is None else grants_of(granted.system(table, self._runtime.settings))
                # A new dict: a thread that computes an answer from the grants before puts it into the old one.
                self._answers = {}
                self._read_at = None if table is None else table.metadata_location
            self._looked = began

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
                for place in parents(on, CATALOG_NAME)
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

    def _fresh(self) -> Mapping[Grant, GrantRecord]:
        records = self._records
        if records is None or self._clock() - self._looked >= KEPT_SECONDS:
            raise NotReady("the grants of the store cannot be read, because its catalog does not respond; try again later")
        return records


def _grantees(principal: Principal) -> Iterable[Grantee]:
    yield Grantee(GranteeKind.USER, principal.name)
    for group in principal.groups:
        yield Grantee(GranteeKind.GROUP, group)
