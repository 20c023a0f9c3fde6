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
    from featurestore.pipelines.training_sets.build import build_training_set as build_training_set
    from featurestore.pipelines.training_sets.build import find_training_set as find_training_set
    from featurestore.pipelines.training_sets.build import get_training_set as get_training_set
    from featurestore.pipelines.training_sets.comparison import compare_training_sets as compare_training_sets
    from featurestore.pipelines.training_sets.listing import list_training_sets as list_training_sets
    from featurestore.pipelines.training_sets.prepared import prepare_training_set as prepare_training_set
    from featurestore.pipelines.training_sets.prepared import read_spine as read_spine
    from featurestore.pipelines.training_sets.progress import report_rows_written as report_rows_written
    from featurestore.pipelines.training_sets.rebuild import rebuild_training_set as rebuild_training_set
    from featurestore.pipelines.training_sets.request import TrainingSetRequest as TrainingSetRequest
    from featurestore.pipelines.training_sets.spooled import load_spooled as load_spooled
    from featurestore.records.pinned import pin as pin
    from featurestore.spines.bounds import bounded_result as bounded_result
    from featurestore.spines.join_request import JoinRequest as JoinRequest

_HOMES = {
    "JoinRequest": "spines.join_request",
    "Plan": "pipelines.planning.plan",
    "TrainingSetRequest": "pipelines.training_sets.request",
    "apply": "pipelines.planning.apply",
    "bounded_result": "spines.bounds",
    "build_training_set": "pipelines.training_sets.build",
    "compare_training_sets": "pipelines.training_sets.comparison",
    "compare_views": "pipelines.maintenance.online_comparison",
    "find_training_set": "pipelines.training_sets.build",
    "get_training_set": "pipelines.training_sets.build",
    "join_pinned": "joins.pinned",
    "list_training_sets": "pipelines.training_sets.listing",
    "load": "dsl.loader",
    "load_spooled": "pipelines.training_sets.spooled",
    "lookup": "pipelines.lookup",
    "maintain": "pipelines.maintenance.maintain",
    "materialize_views": "pipelines.materialization.outcome",
    "pin": "records.pinned",
    "plan": "pipelines.planning.plan",
    "prepare_training_set": "pipelines.training_sets.prepared",
    "publish_views": "pipelines.materialization.publish",
    "read_spine": "pipelines.training_sets.prepared",
    "rebuild_training_set": "pipelines.training_sets.rebuild",
    "remove_service": "pipelines.maintenance.removal",
    "remove_version": "pipelines.maintenance.removal",
    "remove_view": "pipelines.maintenance.removal",
    "repair": "pipelines.maintenance.repair",
    "report_rows_written": "pipelines.training_sets.progress",
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
    for module in ("engine.duck", "files.file_cache"):
        import_module(f"featurestore.{module}")
