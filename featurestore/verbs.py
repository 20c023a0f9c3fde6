"""The functions behind the store's methods, imported on first use, so that light commands do not load joins and the engine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.access.granting import change_grant as change_grant
    from featurestore.access.granting import list_grants as list_grants
    from featurestore.access.keys import create_key as create_key
    from featurestore.access.keys import list_keys as list_keys
    from featurestore.access.keys import revoke_key as revoke_key
    from featurestore.access.policies import list_policies as list_policies
    from featurestore.access.policies import read_policies as read_policies
    from featurestore.access.rights import OPERATOR as OPERATOR
    from featurestore.audit_log.flush import flush_audit_log as flush_audit_log
    from featurestore.audit_log.reading import read_all_heads as read_all_heads
    from featurestore.audit_log.reading import read_entries as read_entries
    from featurestore.audit_log.verify import heads_of_documents as heads_of_documents
    from featurestore.audit_log.verify import verify_audit_log as verify_audit_log
    from featurestore.dsl.loader import load_definitions as load_definitions
    from featurestore.joins.pinned import join_pinned as join_pinned
    from featurestore.pipelines.feature_lookups.lookup_service import LookupArguments as LookupArguments
    from featurestore.pipelines.feature_lookups.lookup_service import request_of_lookups as request_of_lookups
    from featurestore.pipelines.fresh.refresher import catch_up as catch_up
    from featurestore.pipelines.lineage.column_lineage import find_lineage as find_lineage
    from featurestore.pipelines.lineage.history import table_history as table_history
    from featurestore.pipelines.lineage.impact import find_impact as find_impact
    from featurestore.pipelines.lineage.traffic import find_traffic as find_traffic
    from featurestore.pipelines.maintenance.erasure import erase as erase
    from featurestore.pipelines.maintenance.erasure import list_erasures as list_erasures
    from featurestore.pipelines.maintenance.maintain import maintain as maintain
    from featurestore.pipelines.maintenance.online_comparison import compare_views as compare_views
    from featurestore.pipelines.maintenance.removal import remove_service as remove_service
    from featurestore.pipelines.maintenance.removal import remove_version as remove_version
    from featurestore.pipelines.maintenance.removal import remove_view as remove_view
    from featurestore.pipelines.maintenance.repair import repair as repair
    from featurestore.pipelines.maintenance.retention import explain_retention as explain_retention
    from featurestore.pipelines.maintenance.tagging import list_versions as list_versions
    from featurestore.pipelines.maintenance.tagging import remove_tag as remove_tag
    from featurestore.pipelines.maintenance.tagging import tag_tables as tag_tables
    from featurestore.pipelines.maintenance.training_set_removal import remove_training_set as remove_training_set
    from featurestore.pipelines.materialization.edition import publish_views as publish_views
    from featurestore.pipelines.materialization.filling import fill_lost as fill_lost
    from featurestore.pipelines.materialization.outcome import materialize_views as materialize_views
    from featurestore.pipelines.online_lookup.lookup import lookup as lookup
    from featurestore.pipelines.planning.apply import apply_plan as apply_plan
    from featurestore.pipelines.planning.plan import Plan as Plan
    from featurestore.pipelines.planning.plan import make_plan as make_plan
    from featurestore.pipelines.pushed.push import push as push
    from featurestore.pipelines.pushed.write import write_source as write_source
    from featurestore.pipelines.training_sets.build import build_training_set as build_training_set
    from featurestore.pipelines.training_sets.build import get_training_set as get_training_set
    from featurestore.pipelines.training_sets.build import has_training_set as has_training_set
    from featurestore.pipelines.training_sets.comparison import compare_training_sets as compare_training_sets
    from featurestore.pipelines.training_sets.listing import list_training_sets as list_training_sets
    from featurestore.pipelines.training_sets.prepared import check_policies as check_policies
    from featurestore.pipelines.training_sets.prepared import prepare_training_set as prepare_training_set
    from featurestore.pipelines.training_sets.prepared import read_spine as read_spine
    from featurestore.pipelines.training_sets.progress import report_rows_written as report_rows_written
    from featurestore.pipelines.training_sets.rebuild import rebuild_training_set as rebuild_training_set
    from featurestore.pipelines.training_sets.request import TrainingSetRequest as TrainingSetRequest
    from featurestore.pipelines.training_sets.spooled import load_spooled as load_spooled
    from featurestore.pipelines.written.create import TableRequest as TableRequest
    from featurestore.pipelines.written.create import create_table as create_table
    from featurestore.pipelines.written.write import write_table as write_table
    from featurestore.records.named_tables import local_table as local_table
    from featurestore.records.pinned import pin as pin
    from featurestore.sharing.managing import add_to_share as add_to_share
    from featurestore.sharing.managing import create_share as create_share
    from featurestore.sharing.managing import list_shares as list_shares
    from featurestore.sharing.managing import remove_from_share as remove_from_share
    from featurestore.sharing.managing import remove_share as remove_share
    from featurestore.sharing.recipients import change_recipient as change_recipient
    from featurestore.sharing.recipients import create_recipient as create_recipient
    from featurestore.sharing.recipients import list_recipients as list_recipients
    from featurestore.sharing.recipients import revoke_recipient as revoke_recipient
    from featurestore.sharing.recipients import rotate_recipient as rotate_recipient
    from featurestore.spines.bounds import bounded_result as bounded_result
    from featurestore.spines.join_request import JoinRequest as JoinRequest

LOADED_LATE = ("featurestore.engine.duck", "featurestore.files.file_cache")
"""Modules that the runtime imports on first use."""
FILE_READERS = ("pyiceberg.io.pyarrow", "sqlalchemy.dialects.sqlite")
"""Modules that pyiceberg imports for the first data file and for the first catalog. They are slow to import; a process that reads no rows
itself does without them.
"""

_HOMES = {
    "JoinRequest": "spines.join_request",
    "LookupArguments": "pipelines.feature_lookups.lookup_service",
    "OPERATOR": "access.rights",
    "Plan": "pipelines.planning.plan",
    "TableRequest": "pipelines.written.create",
    "TrainingSetRequest": "pipelines.training_sets.request",
    "create_share": "sharing.managing",
    "remove_share": "sharing.managing",
    "add_to_share": "sharing.managing",
    "remove_from_share": "sharing.managing",
    "list_shares": "sharing.managing",
    "create_recipient": "sharing.recipients",
    "change_recipient": "sharing.recipients",
    "rotate_recipient": "sharing.recipients",
    "revoke_recipient": "sharing.recipients",
    "list_recipients": "sharing.recipients",
    "apply_plan": "pipelines.planning.apply",
    "bounded_result": "spines.bounds",
    "build_training_set": "pipelines.training_sets.build",
    "change_grant": "access.granting",
    "check_policies": "pipelines.training_sets.prepared",
    "compare_training_sets": "pipelines.training_sets.comparison",
    "compare_views": "pipelines.maintenance.online_comparison",
    "create_key": "access.keys",
    "create_table": "pipelines.written.create",
    "erase": "pipelines.maintenance.erasure",
    "explain_retention": "pipelines.maintenance.retention",
    "find_impact": "pipelines.lineage.impact",
    "find_lineage": "pipelines.lineage.column_lineage",
    "get_training_set": "pipelines.training_sets.build",
    "find_traffic": "pipelines.lineage.traffic",
    "flush_audit_log": "audit_log.flush",
    "fill_lost": "pipelines.materialization.filling",
    "has_training_set": "pipelines.training_sets.build",
    "heads_of_documents": "audit_log.verify",
    "join_pinned": "joins.pinned",
    "list_grants": "access.granting",
    "list_policies": "access.policies",
    "read_policies": "access.policies",
    "list_keys": "access.keys",
    "list_erasures": "pipelines.maintenance.erasure",
    "list_training_sets": "pipelines.training_sets.listing",
    "list_versions": "pipelines.maintenance.tagging",
    "load_definitions": "dsl.loader",
    "load_spooled": "pipelines.training_sets.spooled",
    "local_table": "records.named_tables",
    "lookup": "pipelines.online_lookup.lookup",
    "maintain": "pipelines.maintenance.maintain",
    "materialize_views": "pipelines.materialization.outcome",
    "pin": "records.pinned",
    "make_plan": "pipelines.planning.plan",
    "prepare_training_set": "pipelines.training_sets.prepared",
    "push": "pipelines.pushed.push",
    "publish_views": "pipelines.materialization.edition",
    "catch_up": "pipelines.fresh.refresher",
    "read_all_heads": "audit_log.reading",
    "read_entries": "audit_log.reading",
    "read_spine": "pipelines.training_sets.prepared",
    "rebuild_training_set": "pipelines.training_sets.rebuild",
    "remove_service": "pipelines.maintenance.removal",
    "remove_tag": "pipelines.maintenance.tagging",
    "remove_training_set": "pipelines.maintenance.training_set_removal",
    "remove_version": "pipelines.maintenance.removal",
    "remove_view": "pipelines.maintenance.removal",
    "repair": "pipelines.maintenance.repair",
    "request_of_lookups": "pipelines.feature_lookups.lookup_service",
    "revoke_key": "access.keys",
    "report_rows_written": "pipelines.training_sets.progress",
    "table_history": "pipelines.lineage.history",
    "tag_tables": "pipelines.maintenance.tagging",
    "verify_audit_log": "audit_log.verify",
    "write_source": "pipelines.pushed.write",
    "write_table": "pipelines.written.write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Cached in the module, so that this function runs once per name.
    value = globals()[name] = getattr(import_module(f"featurestore.{_HOMES[name]}"), name)
    return value


def import_all() -> None:
    """Import everything now, for a server process: its requests do not wait for imports, and its forks share their memory."""
    for name in _HOMES:
        __getattr__(name)
    for module in LOADED_LATE:
        import_module(module)


def names_of_all() -> list[str]:
    """The names of all modules that a process imports on first use when it runs queries, for fork servers."""
    return sorted({*(f"featurestore.{home}" for home in _HOMES.values()), *LOADED_LATE, *FILE_READERS})
