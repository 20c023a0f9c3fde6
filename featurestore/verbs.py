"""What carries out each verb, imported when it is first called: a command that lists views need not wait for joins and the engine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.dsl.loader import load as load
    from featurestore.joins.pinned import join_pinned as join_pinned
    from featurestore.pipelines.lookup import lookup as lookup
    from featurestore.pipelines.maintenance.maintain import maintain as maintain
    from featurestore.pipelines.maintenance.online_comparison import compare_views as compare_views
    from featurestore.pipelines.maintenance.removal import remove_service as remove_service
    from featurestore.pipelines.maintenance.removal import remove_version as remove_version
    from featurestore.pipelines.maintenance.removal import remove_view as remove_view
    from featurestore.pipelines.maintenance.repair import repair as repair
    from featurestore.pipelines.materialization.outcome import materialize_views as materialize_views
    from featurestore.pipelines.materialization.publish import publish_views as publish_views
    from featurestore.pipelines.planning.apply import apply as apply
    from featurestore.pipelines.planning.plan import Plan as Plan
    from featurestore.pipelines.planning.plan import plan as plan
    from featurestore.pipelines.training_sets.build import build as build
    from featurestore.pipelines.training_sets.build import find as find
    from featurestore.pipelines.training_sets.build import get as get
    from featurestore.pipelines.training_sets.comparison import compare as compare
    from featurestore.pipelines.training_sets.listing import listing as listing
    from featurestore.pipelines.training_sets.prepared import prepare as prepare
    from featurestore.pipelines.training_sets.prepared import read_for as read_for
    from featurestore.pipelines.training_sets.progress import by_rows as by_rows
    from featurestore.pipelines.training_sets.rebuild import rebuild as rebuild
    from featurestore.pipelines.training_sets.spooled import spooled as spooled
    from featurestore.records.pinned import pin as pin
    from featurestore.spines.bounds import bounded_result as bounded_result
    from featurestore.spines.grid import asked as asked

_HOMES = {
    "Plan": "pipelines.planning.plan",
    "apply": "pipelines.planning.apply",
    "asked": "spines.grid",
    "bounded_result": "spines.bounds",
    "build": "pipelines.training_sets.build",
    "by_rows": "pipelines.training_sets.progress",
    "compare": "pipelines.training_sets.comparison",
    "compare_views": "pipelines.maintenance.online_comparison",
    "find": "pipelines.training_sets.build",
    "get": "pipelines.training_sets.build",
    "join_pinned": "joins.pinned",
    "listing": "pipelines.training_sets.listing",
    "load": "dsl.loader",
    "lookup": "pipelines.lookup",
    "maintain": "pipelines.maintenance.maintain",
    "materialize_views": "pipelines.materialization.outcome",
    "pin": "records.pinned",
    "plan": "pipelines.planning.plan",
    "prepare": "pipelines.training_sets.prepared",
    "publish_views": "pipelines.materialization.publish",
    "read_for": "pipelines.training_sets.prepared",
    "rebuild": "pipelines.training_sets.rebuild",
    "remove_service": "pipelines.maintenance.removal",
    "remove_version": "pipelines.maintenance.removal",
    "remove_view": "pipelines.maintenance.removal",
    "repair": "pipelines.maintenance.repair",
    "spooled": "pipelines.training_sets.spooled",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept, as an import would be: the next call finds it without this function.
    found = globals()[name] = getattr(import_module(f"featurestore.{_HOMES[name]}"), name)
    return found


def import_all() -> None:
    """Import everything now, for a process that answers many and forks others: none of them should wait for it, or hold it once more."""
    for name in _HOMES:
        __getattr__(name)
    for module in ("engine.duck", "files.files"):
        import_module(f"featurestore.{module}")
