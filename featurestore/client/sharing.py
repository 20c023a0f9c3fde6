"""The methods of a server about what is shared with others outside, as exchanges."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from featurestore.client.arguments import path_part
from featurestore.client.calls import Calls
from featurestore.client.steps import Exchange, delete, post
from featurestore.dsl.durations import as_text
from featurestore.errors import RequestError
from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo, ShareInfo
from featurestore.values.arguments import check_name, check_text


class SharingVerbs:
    """Shares and recipients; `FeatureStore` documents these methods."""

    _calls: Calls

    def create_share(self, name: str) -> Exchange[ShareInfo]:
        """Make an empty share."""
        return self._calls.read_result(ShareInfo, post("/v1/shares", {"name": check_name(name, "name")}))

    def remove_share(self, name: str) -> Exchange[ShareInfo]:
        """Remove a share."""
        return self._calls.read_result(ShareInfo, delete(f"/v1/shares/{path_part(name, 'name')}"))

    def add_to_share(self, share: str, on: str, as_name: str | None = None) -> Exchange[ShareInfo]:
        """Put an object into a share."""
        body = {"on": check_name(on, "on"), **({} if as_name is None else {"as_name": check_name(as_name, "as_name")})}
        return self._calls.read_result(ShareInfo, post(f"/v1/shares/{path_part(share, 'share')}/tables", body))

    def remove_from_share(self, share: str, on: str) -> Exchange[ShareInfo]:
        """Take an object out of a share."""
        return self._calls.read_result(ShareInfo, delete(f"/v1/shares/{path_part(share, 'share')}/tables", on=check_name(on, "on")))

    def shares(self) -> Exchange[list[ShareInfo]]:
        """The shares by name."""
        return self._calls.get_results(ShareInfo, "/v1/shares")

    def create_recipient(
        self, name: str, shares: str | Sequence[str] = (), groups: str | Sequence[str] = (), expires: timedelta | str = "90d"
    ) -> Exchange[CreatedRecipient]:
        """Make a recipient of shares."""
        body = {
            "name": check_name(name, "name"),
            "shares": _names(shares, "shares"),
            "groups": _names(groups, "groups"),
            "expires": check_text(as_text(expires), "expires"),
        }
        return self._calls.read_result(CreatedRecipient, post("/v1/recipients", body))

    def change_recipient(
        self, name: str, shares: str | Sequence[str] | None = None, groups: str | Sequence[str] | None = None
    ) -> Exchange[RecipientInfo]:
        """Give a recipient other shares or groups."""
        given = {"shares": shares, "groups": groups}
        body = {field: _names(names, field) for field, names in given.items() if names is not None}
        return self._calls.read_result(RecipientInfo, post(f"/v1/recipients/{path_part(name, 'name')}", body))

    def rotate_recipient(self, name: str, expires: timedelta | str = "90d") -> Exchange[CreatedRecipient]:
        """Make a second profile for a recipient."""
        body = {"expires": check_text(as_text(expires), "expires")}
        return self._calls.read_result(CreatedRecipient, post(f"/v1/recipients/{path_part(name, 'name')}/keys", body))

    def revoke_recipient(self, name: str, key: str | None = None) -> Exchange[RecipientInfo]:
        """Revoke a recipient, or one of its keys."""
        one = "" if key is None else f"/keys/{path_part(key, 'key')}"
        return self._calls.read_result(RecipientInfo, delete(f"/v1/recipients/{path_part(name, 'name')}{one}"))

    def recipients(self) -> Exchange[list[RecipientInfo]]:
        """All recipients by name."""
        return self._calls.get_results(RecipientInfo, "/v1/recipients")


def _names(value: Any, argument: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        raise RequestError(f"{argument} is not a list of names", field=argument)
    return [check_name(name, argument) for name in names]
