"""The join with feature tables pinned at snapshots."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from featurestore.compiler.service_plan import ServicePlan
from featurestore.joins.distributed.plan import plan_on_workers
from featurestore.joins.join import Joined, join
from featurestore.joins.view_join import ViewFacts
from featurestore.lakehouse.folders import data_folders
from featurestore.records.pinned import Pinned
from featurestore.records.runtime import Runtime
from featurestore.spines.spine import Spine
from featurestore.values import times


@contextmanager
def join_pinned(runtime: Runtime, plan: ServicePlan, spine: Spine, pinned: Mapping[str, Pinned], known: str) -> Iterator[Joined]:
    """Open the join with pinned snapshots, to be read inside of the context; see `join`."""
    with runtime.engine.session(data_folders(*(view.granted for view in pinned.values()))) as session:
        on_workers = None
        if (distributor := runtime.distributor) is not None:
            on_workers = partial(plan_on_workers, runtime, distributor, session, plan, spine, pinned)
        yield join(session, plan, spine, pinned, known, on_workers=on_workers)


def past_watermark_warnings(plan: ServicePlan, facts: Mapping[str, ViewFacts], pinned: Mapping[str, Pinned]) -> list[str]:
    """A warning for every view that is not materialized up to the spine's latest rows."""
    warnings: list[str] = []
    for use in plan.uses:
        count = facts[use.label].past_watermark
        if count:
            through = times.text(pinned[use.table].state.through)
            state = f"is materialized through {through}" if through else "was never materialized"
            warnings.append(f"view {use.view} {state}, but {count} spine rows are later: their features may be older than they should be")
    return list(dict.fromkeys(warnings))
