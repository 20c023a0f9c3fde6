"""The files of a shared snapshot as one recipient may read them, made where they do not exist yet."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from featurestore.access.rights import Rights
from featurestore.engine import watch
from featurestore.errors import NotFound
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.delta_schema import arrow_schema, to_shared
from featurestore.lakehouse.exported_files import ExportedFile, exported_files, read_exported
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.sharing.copies import Copies, Copy
from featurestore.sharing.readable import ReadableShares
from featurestore.sharing.recipient_policy import RecipientPolicy, find_policy
from featurestore.sharing.recipients import principal_of
from featurestore.sharing.shared_snapshot import SharedSnapshot

FORMAT = 2
"""Part of the name of each copy, to be changed with how copies are written."""


def list_shared_files(
    runtime: Runtime, copies: Copies, snapshot: SharedSnapshot, shares: ReadableShares, rights: Rights, limit: int | None
) -> Iterator[Copy]:
    """The files of a snapshot with the rows that a recipient may read, whose policies `rights` tell.

    With `limit`, no more of them than it takes to have as many rows. Raises: Forbidden; NotFound if the snapshot or a file of it is lost;
    TypeMismatch; OutOfResources; NotReady.
    """
    granted, policy = (
        shares.grant(snapshot.entry, snapshot.table),
        find_policy(runtime, snapshot, replace(rights, principal=principal_of(shares.recipient))),
    )
    rows = 0
    for file in () if snapshot.snapshot_id is None else exported_files(granted, snapshot.snapshot_id):
        if limit is not None and rows >= limit:
            return
        name = f"{_digest(file, snapshot, policy)}.parquet"
        copy = copies.find(name) or _write(runtime, copies, name, granted, file, snapshot, policy)
        rows += copy.rows
        yield copy


def _write(
    runtime: Runtime, copies: Copies, name: str, granted: Granted, file: ExportedFile, snapshot: SharedSnapshot, policy: RecipientPolicy
) -> Copy:
    columns = snapshot.columns

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in policy.apply(runtime, read_exported(granted, snapshot.schema_id, file)):
                watch.current().check()
                yield to_shared(batch, columns)
        except FileNotFoundError as error:
            raise NotFound("data file", f"of {granted.name}", None) from error

    with translating_errors(f"reading {granted.name}"):
        return copies.write(name, arrow_schema(columns), batches())


def _digest(file: ExportedFile, snapshot: SharedSnapshot, policy: RecipientPolicy) -> str:
    """What determines the content of a copy: the rows, the columns as they are called and typed now, and the policy."""
    columns = [column.to_json() for column in snapshot.columns]
    document = [FORMAT, file.identity, snapshot.schema_id, columns, policy.digest]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
