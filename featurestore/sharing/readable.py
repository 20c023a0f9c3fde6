"""What a recipient may read: its shares, with their schemas and tables. This is the guard that grants it the rows of these."""

from dataclasses import dataclass

from featurestore.errors import Forbidden, NotFound
from featurestore.lakehouse import granted
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.sharing.shares import Recipient, Share, SharedTable, Sharing


@dataclass(frozen=True)
class ReadableShares:
    """The shares of one recipient. Names are the same in any case."""

    sharing: Sharing
    recipient: Recipient

    @classmethod
    def of(cls, sharing: Sharing, name: str) -> "ReadableShares":
        """The shares of a recipient. Raises: Forbidden if it was revoked."""
        recipient = sharing.recipients.get(name)
        if recipient is None or recipient.revoked:
            raise Forbidden(f"the recipient {name} was revoked; ask whoever shares with you for a new profile", recipient=name)
        return cls(sharing, recipient)

    @property
    def names(self) -> list[str]:
        """The names of the shares, sorted."""
        return sorted(name for name in self.recipient.shares if name in self.sharing.shares)

    def share(self, name: str) -> Share:
        """A share. Raises: NotFound, whether there is no such share or it is another's."""
        if name.lower() not in self.names:
            raise NotFound("share", name, None)
        return self.sharing.shares[name.lower()]

    def tables(self, share: str, schema: str | None = None) -> list[SharedTable]:
        """The tables of a share, or of one of its schemas, by schema and name. Raises: NotFound."""
        found = self.share(share)
        if schema is not None and schema.lower() not in found.schemas():
            raise NotFound("schema", schema, None, f"the share {found.name}")
        return [found.tables[key] for key in sorted(found.tables) if schema is None or key[0] == schema.lower()]

    def table(self, share: str, schema: str, name: str) -> SharedTable:
        """A table of a share. Raises: NotFound."""
        entry = self.share(share).tables.get((schema.lower(), name.lower()))
        if entry is None:
            raise NotFound("shared table", f"{schema}.{name}", None, f"the share {share.lower()}")
        return entry

    def grant(self, entry: SharedTable, table: Table) -> Granted:
        """The table of an entry, of which the recipient may read the rows. Raises: NotFound if the entry is not shared with it any more."""
        shared = self.table(entry.share, entry.schema, entry.name)
        permit = granted.issue_permit(f"recipient:{self.recipient.name}", f"SHARE {shared.share}", (table.name,))
        return granted.issue(table, permit)
