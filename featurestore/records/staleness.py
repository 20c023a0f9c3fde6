"""When a view is stale: its watermark is further in the past than the view allows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.durations import microseconds
from featurestore.errors import NotReady
from featurestore.online.store import Cursor
from featurestore.records.definitions import Registry
from featurestore.records.stored_definition import conflict_if_unreadable
from featurestore.values import times
from featurestore.values.humanize import format_duration


@dataclass(frozen=True)
class StalePolicy:
    """A view is stale more than `after` microseconds past its watermark; `mode` is value, null or error."""

    after: int
    mode: str

    def is_stale(self, cursor: Cursor | None, moment: int) -> bool:
        """Whether rows that were published with this cursor are stale at a moment."""
        through = None if cursor is None else cursor.materialized_through
        return through is not None and moment - through > self.after


def stale_policies(known: Registry) -> dict[str, StalePolicy]:
    """The policies of all versions of views that have one, by feature table."""
    policies = {}
    for (kind, _), versions in known.rows.items():
        for applied in versions if kind == "view" else ():
            after = applied.document.get("stale_after")
            if after is not None:
                with conflict_if_unreadable(f"view {applied.name}, version {applied.version}", view=applied.name):
                    policies[applied.table] = StalePolicy(microseconds(after), str(applied.document.get("stale", "value")))
    return policies


def stale_from(policies: Mapping[str, StalePolicy], plan: ServicePlan, cursors: Mapping[str, Cursor | None]) -> int | None:
    """The first moment at which a view of a plan is stale; None if none ever is."""
    moments = [
        cursor.materialized_through + policies[use.table].after + 1
        for use in plan.uses
        if use.table in policies and (cursor := cursors[use.table]) is not None and cursor.materialized_through is not None
    ]
    return min(moments, default=None)


def refuse_stale(label: str, table: str, policy: StalePolicy, cursor: Cursor | None, moment: int) -> None:
    """Raises: NotReady that says how stale a view is."""
    through = None if cursor is None else cursor.materialized_through
    assert through is not None
    raise NotReady(
        f"view {label} is stale: it is materialized through {times.text(through)}, {format_duration(moment - through)} ago, and may be"
        f" {format_duration(policy.after)} behind; run featurestore materialize",
        view=label,
        table=table,
        watermark=times.text(through),
        status="STALE",
    )


def stale_spine_notes(
    policies: Mapping[str, StalePolicy], plan: ServicePlan, watermarks: Mapping[str, int | None], newest: int | None
) -> Iterable[str]:
    """Warnings for a spine whose newest row is at a time when lookups would have found a view stale, as it is materialized now."""
    for use in plan.uses:
        policy, through = policies.get(use.table), watermarks.get(use.table)
        if policy is not None and through is not None and newest is not None and newest - through > policy.after:
            yield (
                f"view {use.label} is STALE for rows after {times.text(through + policy.after)}: it is materialized through"
                f" {times.text(through)}, and may be {format_duration(policy.after)} behind"
            )
