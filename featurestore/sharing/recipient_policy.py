"""What a recipient may see of a shared table: the one place where masks and row filters apply to shares."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from featurestore.access.rights import Rights
from featurestore.compiler.row_policy import RowPolicy
from featurestore.errors import Forbidden
from featurestore.lakehouse import tables
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.sharing.shared_object import SharedKind, SharedObject
from featurestore.sharing.shared_snapshot import SharedSnapshot
from featurestore.sources.policy_rows import policy_columns, visible_rows
from featurestore.values.table_names import is_in

TIME = "feature_timestamp"
"""The column of a feature table before which its keys are."""


@dataclass(frozen=True)
class RecipientPolicy:
    """The policies of a table for one recipient. Recipients with the same `digest` see the same rows; None: all of them."""

    policy: RowPolicy
    columns: tuple[tuple[str, str], ...] = ()
    """The names of the columns in the policy, and in the shared rows."""

    @property
    def digest(self) -> list[Any] | None:
        """What is in force, and on which columns; None if nothing is."""
        return None if self.policy.is_open else [self.policy.digest, *map(list, self.columns)]

    def apply(self, runtime: Runtime, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The rows that the recipient may see, masked."""
        if self.policy.is_open:
            yield from rows
            return
        with runtime.engine.session() as session:
            raw = session.add("shared_rows", rows)
            yield from session.batches(visible_rows(raw, session.schema(raw), self.columns, self.policy))


def rules_of(rights: Rights, on: SharedObject, settings: Settings) -> str:
    """A digest of the policies for a recipient on what is shared; empty if nothing is hidden. Raises: NotReady."""
    table = on.securable(settings)
    if is_in(table.name, *settings.joined_namespaces):
        return "any" if rights.is_under_policies else ""
    policy = rights.policy_of_view(on.name) if on.kind is SharedKind.VIEW else rights.policy_of_table(table.name)
    return "" if policy.digest is None else str(policy.digest)


def find_policy(runtime: Runtime, snapshot: SharedSnapshot, rights: Rights) -> RecipientPolicy:
    """The policies of a shared table for a recipient.

    Raises: Forbidden where they cannot be kept by looking at one row at a time; NotReady if they were not read lately.
    """
    shown = f"{snapshot.entry.schema}.{snapshot.entry.name}"
    if is_in(snapshot.table.name, *runtime.settings.joined_namespaces) and rights.is_under_policies:
        raise Forbidden(
            f"{shown} has features of views and columns of tables, and masks or row filters are in force for {rights.principal.name};"
            " ask whoever shares with you for a group that is exempt from them",
            principal=rights.principal.name,
        )
    policy = rights.policy_of_table(snapshot.table.name)
    if snapshot.entry.on.kind is SharedKind.VIEW and policy.rows is not None:
        names = [column.name for column in snapshot.columns]
        bound = policy.bind(dict.fromkeys(names, "VARCHAR"))
        # All rows of a key, or none: without some of them, an older row would stand for the hidden one.
        if not set(bound.reads(())) <= set(names[: names.index(TIME)]):
            raise Forbidden(
                f"the rows of {shown} are filtered for {rights.principal.name} by other columns than keys, and older rows would take the"
                " place of hidden ones; ask whoever shares with you for a group that is exempt, or for a table without a history",
                principal=rights.principal.name,
            )
    if policy.is_open:
        return RecipientPolicy(policy)
    stored = {field.field_id: field.name for field in tables.schema_by_id(snapshot.table, snapshot.schema_id).fields}
    is_view = snapshot.entry.on.kind is SharedKind.VIEW
    return RecipientPolicy(policy, tuple(policy_columns(snapshot.table, stored, policy, shown, may_lack=is_view)))
