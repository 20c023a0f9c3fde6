"""The policies in the memory of a process, which follows their registry."""

import time
from collections.abc import Callable

from featurestore.access.policies import Policies, StoredPolicy, find_policy, in_force, policies_of, policies_table
from featurestore.access.privileges import Kind, Securable
from featurestore.access.registry_follower import RegistryFollower
from featurestore.compiler.row_policy import RowPolicy
from featurestore.lakehouse import granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import is_in, view_of_table

ANSWERS = 10_000
"""Most answers that are kept, so that a warm one is one look into a dict."""

PoliciesInForce = tuple[tuple[str, RowPolicy], ...]
"""Tables, and what is in force on each; nothing else is hidden."""


class PolicyBook(RegistryFollower[Policies]):
    """The policies as they were last read."""

    what = "policies"

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic, on_demand: bool = False) -> None:
        """`on_demand` as in `RegistryFollower`."""
        super().__init__(runtime, policies_table(runtime.settings), clock, on_demand)
        self._answers: dict[tuple[frozenset[str], Kind, str], RowPolicy] = {}
        self._of_tables: dict[tuple[frozenset[str], tuple[str, ...]], PoliciesInForce] = {}

    def policies(self) -> Policies:
        """The policies of all objects. Raises: NotReady if they were not read lately."""
        return self._fresh()

    def find(self, on: Securable) -> StoredPolicy | None:
        """The policy of an object; None if it has none. Raises: NotReady if policies were not read lately."""
        return find_policy(self._fresh(), on)

    def has_any(self, groups: frozenset[str]) -> bool:
        """Whether anything at all is in force for members of these groups. Raises: NotReady."""
        return any(not self.policy(groups, on.kind, on.name).is_open for on in self._fresh())

    def policy_of_table(self, groups: frozenset[str], table: str) -> RowPolicy:
        """As `policy`, of a table of the catalog: a feature table has the policy of its view."""
        if is_in(table, self._runtime.settings.features_namespace):
            return self.policy(groups, Kind.VIEW, view_of_table(table))
        return self.policy(groups, Kind.TABLE, table)

    def policy(self, groups: frozenset[str], kind: Kind, name: str) -> RowPolicy:
        """What is in force on a table or view for members of these groups, who are not administrators.

        Raises: NotReady if policies were not read lately.
        """
        answers, policies = self._answers, self._fresh()
        question = (groups, kind, name)
        answer = answers.get(question)
        if answer is None:
            answer = in_force(policies, Securable(kind, name), groups)
            if len(answers) >= ANSWERS:
                answers.clear()
            answers[question] = answer
        return answer

    def policies_of_tables(self, groups: frozenset[str], tables: tuple[str, ...]) -> PoliciesInForce:
        """As `policy_of_table`, of several tables: only the policies that hide something. A warm answer is one look into a dict."""
        answers = self._of_tables
        self._fresh()
        answer = answers.get((groups, tables))
        if answer is None:
            policies = ((table, self.policy_of_table(groups, table)) for table in dict.fromkeys(tables))
            answer = tuple((table, policy) for table, policy in policies if not policy.is_open)
            if len(answers) >= ANSWERS:
                answers.clear()
            answers[groups, tables] = answer
        return answer

    def _read(self, table: Table | None) -> Policies:
        return {} if table is None else policies_of(granted.system(table, self._runtime.settings))

    def _forget(self) -> None:
        # New dicts: a thread that computes an answer from the policies before puts it into the old one.
        self._answers, self._of_tables = {}, {}
