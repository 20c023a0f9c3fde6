"""Create, fill, list and remove shares with the rights of whoever asks."""

from collections.abc import Mapping
from typing import Any

from featurestore.access.privileges import Privilege
from featurestore.access.rights import Rights
from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import delta_schema
from featurestore.records.runtime import Runtime
from featurestore.sharing.share_results import SharedTableInfo, ShareInfo
from featurestore.sharing.shared_object import SharedObject, check_share_name, shared_name
from featurestore.sharing.shared_snapshot import newest_schema_id
from featurestore.sharing.shares import (
    SHARE_CREATED,
    SHARE_REMOVED,
    TABLE_ADDED,
    TABLE_REMOVED,
    Share,
    Sharing,
    append_event,
    read_sharing,
)

MOST_SHARES = 1_000
"""Most shares of a store."""
MOST_TABLES = 1_000
"""Most tables of a share."""


def create_share(runtime: Runtime, name: str, rights: Rights) -> ShareInfo:
    """Record a new, empty share. It needs SHARE on the catalog. Raises: Conflict if there is one of this name; RequestError; Forbidden."""
    rights.require_catalog(Privilege.SHARE)
    share = check_share_name(name, "name")

    def check(sharing: Sharing) -> Mapping[str, Any]:
        if share in sharing.shares:
            raise Conflict(f"there is a share {share} already; add tables to it, or remove it first", share=share)
        if len(sharing.shares) >= MOST_SHARES:
            raise Conflict(f"there are {MOST_SHARES} shares already; remove one first")
        return {"share": share}

    return describe_share(append_event(runtime, SHARE_CREATED, check), share)


def remove_share(runtime: Runtime, name: str, rights: Rights) -> ShareInfo:
    """Record that a share is gone, and return it as it was. It needs SHARE on the catalog. Raises: NotFound; Forbidden."""
    rights.require_catalog(Privilege.SHARE)
    share, before = check_share_name(name, "name"), Sharing()

    def check(sharing: Sharing) -> Mapping[str, Any]:
        nonlocal before
        sharing.share(share)
        before = sharing
        return {"share": share}

    append_event(runtime, SHARE_REMOVED, check)
    return describe_share(before, share)


def add_to_share(runtime: Runtime, share: str, on: str, as_name: str | None, rights: Rights) -> ShareInfo:
    """Record that an object is shared, under a name such as `sales.orders`. It needs SHARE and READ on the object.

    Raises: RequestError; Forbidden; NotFound; Conflict if the object or the name is in the share already; TypeMismatch for columns that
    cannot be shared.
    """
    name, shared = check_share_name(share, "share"), SharedObject.parse(on, runtime.settings)
    shared.require(rights, runtime.settings)
    schema, table = shared_name(as_name, shared)
    # That it exists, and has columns that can be shared.
    loaded = shared.load(runtime)
    delta_schema.delta_columns(loaded, newest_schema_id(loaded, shared))

    def check(sharing: Sharing) -> Mapping[str, Any]:
        entries = sharing.share(name).tables
        if (schema, table) in entries:
            raise Conflict(f"{schema}.{table} of the share {name} is {entries[schema, table].on}; give another name", share=name)
        for entry in entries.values():
            if entry.on == shared:
                raise Conflict(f"{shared} is in the share {name} already, as {entry.schema}.{entry.name}", share=name)
        if len(entries) >= MOST_TABLES:
            raise Conflict(f"the share {name} has {MOST_TABLES} tables already; create another one", share=name)
        return {"share": name, "schema_name": schema, "table_name": table, "on_kind": str(shared.kind), "on_name": shared.name}

    return describe_share(append_event(runtime, TABLE_ADDED, check), name)


def remove_from_share(runtime: Runtime, share: str, on: str, rights: Rights) -> ShareInfo:
    """Record that an object is shared no more. It needs SHARE on the object. Raises: NotFound; RequestError; Forbidden."""
    name, shared = check_share_name(share, "share"), SharedObject.parse(on, runtime.settings)
    shared.require(rights, runtime.settings, reads=False)

    def check(sharing: Sharing) -> Mapping[str, Any]:
        entries = sharing.share(name).tables.values()
        entry = next((entry for entry in entries if entry.on == shared), None)
        if entry is None:
            raise NotFound("object", str(shared), [str(other.on) for other in entries], f"the share {name}")
        return {"share": name, "schema_name": entry.schema, "table_name": entry.name}

    return describe_share(append_event(runtime, TABLE_REMOVED, check), name)


def take_out_of_shares(runtime: Runtime, on: SharedObject) -> None:
    """Record that an object that was removed is in no share any more, so that another one of its name is not shared. Raises: NotReady."""
    for share in read_sharing(runtime).shares.values():
        for entry in share.tables.values():
            if entry.on == on:
                event = {"share": share.name, "schema_name": entry.schema, "table_name": entry.name}
                append_event(runtime, TABLE_REMOVED, lambda _, event=event: event)  # type: ignore[misc]


def list_shares(runtime: Runtime, rights: Rights) -> list[ShareInfo]:
    """The shares by name: all of them with SHARE on the catalog, else those with tables that the principal may see, with only these."""
    sharing = read_sharing(runtime)
    if rights.allows(Privilege.SHARE, rights.catalog):
        return [describe_share(sharing, name) for name in sorted(sharing.shares)]
    seen = [_visible(describe_share(sharing, name), sharing.shares[name], rights, runtime) for name in sorted(sharing.shares)]
    return [share for share in seen if share.tables]


def describe_share(sharing: Sharing, name: str) -> ShareInfo:
    """The share as it is listed."""
    share = sharing.shares[name]
    entries = [share.tables[key] for key in sorted(share.tables)]
    tables = tuple(SharedTableInfo(f"{entry.schema}.{entry.name}", str(entry.on), entry.at, entry.by) for entry in entries)
    return ShareInfo(name, tables, tuple(sharing.readers(name)), share.at, share.by)


def _visible(info: ShareInfo, share: Share, rights: Rights, runtime: Runtime) -> ShareInfo:
    """The share with the tables that a principal may see, and without its recipients."""
    seen = {str(entry.on) for entry in share.tables.values() if entry.on.is_seen(rights, runtime.settings)}
    tables = tuple(table for table in info.tables if table.on in seen)
    return ShareInfo(info.name, tables, (), info.created, info.created_by)
