"""The methods of a store about what is shared with others outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from featurestore import verbs
from featurestore.store.connections import Connections
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo, ShareInfo


class SharingVerbs(Connections):
    """Shares of tables, and the recipients who read them with any client of Delta Sharing."""

    @recorded
    def create_share(self, name: str) -> ShareInfo:
        """Make an empty share: tables that are shared together. Names are the same in any case.

        Raises: RequestError; Conflict if there is one of this name.
        """
        return verbs.create_share(self._runtime, name, verbs.OPERATOR)

    @recorded
    def remove_share(self, name: str) -> ShareInfo:
        """Remove a share, which is returned as it was. Its recipients read it no more. Raises: NotFound with the nearest names."""
        return verbs.remove_share(self._runtime, name, verbs.OPERATOR)

    @recorded
    def add_to_share(self, share: str, on: str, as_name: str | None = None) -> ShareInfo:
        """Put an object into a share: `store.add_to_share("partners", "VIEW customer_orders")`, `"TABLE shop.orders"`, or
        `"TRAINING_SET <id>"`.

        Recipients see it as `as_name`, such as `sales.orders`; None: a name that is made from its own. They see the newest version of a
        view, and of a table every snapshot that is kept. Raises: RequestError; NotFound; Conflict if the object or the name is in the
        share; TypeMismatch for columns of types that cannot be shared.
        """
        return verbs.add_to_share(self._runtime, share, on, as_name, verbs.OPERATOR)

    @recorded
    def remove_from_share(self, share: str, on: str) -> ShareInfo:
        """Take an object out of a share. Raises: NotFound with what is in it."""
        return verbs.remove_from_share(self._runtime, share, on, verbs.OPERATOR)

    def shares(self) -> list[ShareInfo]:
        """All shares by name, with their tables and recipients."""
        return verbs.list_shares(self._runtime, verbs.OPERATOR)

    @recorded
    def create_recipient(
        self, name: str, shares: str | Sequence[str] = (), groups: str | Sequence[str] = (), expires: timedelta | str = "90d"
    ) -> CreatedRecipient:
        """Make a recipient of shares. The result's `profile` is what its clients need, as a JSON file; it has the bearer token, and is
        shown once.

        A recipient reads as a principal without groups, unless some are given. Raises: RequestError; NotFound for a share; Conflict.
        """
        return verbs.create_recipient(self._runtime, name, shares, groups, expires, verbs.OPERATOR)

    @recorded
    def change_recipient(
        self, name: str, shares: str | Sequence[str] | None = None, groups: str | Sequence[str] | None = None
    ) -> RecipientInfo:
        """Give a recipient other shares or groups; None leaves them. All servers follow within a second. Raises: NotFound."""
        return verbs.change_recipient(self._runtime, name, shares, groups, verbs.OPERATOR)

    @recorded
    def rotate_recipient(self, name: str, expires: timedelta | str = "90d") -> CreatedRecipient:
        """Make a second profile for a recipient, so that it can take the place of the first. Two are live at once.

        Raises: NotFound; Conflict saying which key to revoke first.
        """
        return verbs.rotate_recipient(self._runtime, name, expires, verbs.OPERATOR)

    @recorded
    def revoke_recipient(self, name: str, key: str | None = None) -> RecipientInfo:
        """Revoke a recipient with all its keys, or only one key. Servers refuse it, and the files it was given addresses of, within a
        second. Raises: NotFound with the nearest names.
        """
        return verbs.revoke_recipient(self._runtime, name, key, verbs.OPERATOR)

    def recipients(self) -> list[RecipientInfo]:
        """All recipients by name, with their keys and the hour of the last use of each."""
        return verbs.list_recipients(self._runtime, verbs.OPERATOR)
