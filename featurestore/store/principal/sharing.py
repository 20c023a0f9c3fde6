"""The methods of a principal about what is shared with others outside; the functions behind them check its rights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from featurestore import verbs
from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo, ShareInfo


class PrincipalSharing(PrincipalVerbs):
    """Shares and recipients."""

    @recorded
    def create_share(self, name: str) -> ShareInfo:
        """SHARE on the catalog."""
        return self._call(verbs.create_share, self._store._runtime, name, self._rights)

    @recorded
    def remove_share(self, name: str) -> ShareInfo:
        """SHARE on the catalog."""
        return self._call(verbs.remove_share, self._store._runtime, name, self._rights)

    @recorded
    def add_to_share(self, share: str, on: str, as_name: str | None = None) -> ShareInfo:
        """SHARE and READ on the object."""
        return self._call(verbs.add_to_share, self._store._runtime, share, on, as_name, self._rights)

    @recorded
    def remove_from_share(self, share: str, on: str) -> ShareInfo:
        """SHARE on the object."""
        return self._call(verbs.remove_from_share, self._store._runtime, share, on, self._rights)

    @recorded
    def shares(self) -> list[ShareInfo]:
        """All with SHARE on the catalog; else those with tables that it may see, with only these."""
        return self._call(verbs.list_shares, self._store._runtime, self._rights)

    @recorded
    def create_recipient(
        self, name: str, shares: str | Sequence[str] = (), groups: str | Sequence[str] = (), expires: timedelta | str = "90d"
    ) -> CreatedRecipient:
        """SHARE on the catalog."""
        return self._call(verbs.create_recipient, self._store._runtime, name, shares, groups, expires, self._rights)

    @recorded
    def change_recipient(
        self, name: str, shares: str | Sequence[str] | None = None, groups: str | Sequence[str] | None = None
    ) -> RecipientInfo:
        """SHARE on the catalog."""
        return self._call(verbs.change_recipient, self._store._runtime, name, shares, groups, self._rights)

    @recorded
    def rotate_recipient(self, name: str, expires: timedelta | str = "90d") -> CreatedRecipient:
        """SHARE on the catalog."""
        return self._call(verbs.rotate_recipient, self._store._runtime, name, expires, self._rights)

    @recorded
    def revoke_recipient(self, name: str, key: str | None = None) -> RecipientInfo:
        """SHARE on the catalog."""
        return self._call(verbs.revoke_recipient, self._store._runtime, name, key, self._rights)

    @recorded
    def recipients(self) -> list[RecipientInfo]:
        """SHARE on the catalog."""
        return self._call(verbs.list_recipients, self._store._runtime, self._rights)
