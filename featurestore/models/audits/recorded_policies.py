"""The policies under which a logged prediction was made, found again in their registry by their digest: logs have no SQL of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

from featurestore.access.policies import StoredPolicy, policy_history
from featurestore.access.privileges import Kind, Securable
from featurestore.compiler.row_policy import OPEN, RowPolicy, policies_digest
from featurestore.records.operator import Operator
from featurestore.records.runtime import Runtime

MOST_GROUPS = 10
"""Groups of `unless` of which all sets are tried: who asked is not in the log, nor in which groups that was."""


class PolicyReader(Operator):
    """The store as a reader that sees what these policies show, by view."""

    def __init__(self, policies: Mapping[str, RowPolicy]) -> None:
        self._policies = policies

    def policy_of_view(self, view: str) -> RowPolicy:
        """What is in force."""
        return self._policies.get(view, OPEN)


@dataclass(frozen=True)
class RecordedPolicies:
    """What was in force on each view of a model for whoever asked; `hold`: the policies of these views are the same now."""

    policies: Mapping[str, RowPolicy] = field(default_factory=dict)
    hold: bool = True


def find_recorded_policies(runtime: Runtime, views: Iterable[str], digest: str, at: datetime) -> RecordedPolicies | None:
    """The policies of these views with the digest of a prediction at this time; None if the registry has none.

    Raises: NotReady.
    """
    history = {view: policy_history(runtime, Securable(Kind.VIEW, view))[::-1] for view in dict.fromkeys(views)}
    moments = sorted({stored.at for versions in history.values() for stored in versions})
    newest = _state(history, moments[-1]) if moments else {}
    # A server follows within a second, and clocks differ.
    for moment in [*[moment for moment in moments if moment <= at][::-1], *[moment for moment in moments if moment > at]]:
        state = _state(history, moment)
        found = next((policies for policies in _in_force(state) if _digest(policies) == digest), None)
        if found is not None:
            return RecordedPolicies(found, state == newest)
    return None


def _state(history: Mapping[str, list[StoredPolicy]], moment: datetime) -> dict[str, StoredPolicy]:
    """The policy of each view at a moment."""
    return {view: known[-1] for view, versions in history.items() if (known := [stored for stored in versions if stored.at <= moment])}


def _in_force(state: Mapping[str, StoredPolicy]) -> Iterator[dict[str, RowPolicy]]:
    """What may be in force for anybody: it depends on the groups that rules name."""
    named = {view: {group for rule in _rules(stored) for group in rule} for view, stored in state.items()}
    groups = sorted(set().union(*named.values()))[:MOST_GROUPS]
    known: dict[tuple[str, frozenset[str]], RowPolicy] = {}
    for size in range(len(groups) + 1):
        for chosen in map(frozenset, combinations(groups, size)):
            policies = {}
            for view, stored in state.items():
                question = (view, chosen & named[view])
                if question not in known:
                    known[question] = stored.in_force(question[1])
                policies[view] = known[question]
            yield policies


def _rules(stored: StoredPolicy) -> Iterator[Iterable[str]]:
    yield from (mask.unless for mask in stored.policy.masks.values())
    if stored.policy.rows is not None:
        yield stored.policy.rows.unless


def _digest(policies: Mapping[str, RowPolicy]) -> str | None:
    return policies_digest({f"VIEW {view}": policy for view, policy in policies.items()})
