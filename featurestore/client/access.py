"""The methods of a server about who may use it, as exchanges."""

from collections.abc import Sequence
from datetime import timedelta

from featurestore.access.grant_results import GrantInfo
from featurestore.access.key_results import ApiKey, CreatedKey
from featurestore.access.policy_results import PolicyInfo
from featurestore.access.principal import check_groups, check_principal_name
from featurestore.client.arguments import path_part
from featurestore.client.calls import Calls
from featurestore.client.steps import Exchange, delete, post
from featurestore.dsl.durations import as_text
from featurestore.values.arguments import check_flag, check_name, check_text


class AccessVerbs:
    """API keys, grants and policies; `FeatureStore` documents these methods."""

    _calls: Calls

    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> Exchange[CreatedKey]:
        """Make an API key for a person or a program."""
        body = {
            "name": check_principal_name(name, "name"),
            "groups": list(check_groups(groups)),
            "administrator": check_flag(administrator, "administrator"),
            "expires": check_text(as_text(expires), "expires"),
        }
        return self._calls.read_result(CreatedKey, post("/v1/keys", body))

    def grant(self, privilege: str, on: str, to: str) -> Exchange[GrantInfo]:
        """Grant a privilege on an object to a user or group."""
        return self._calls.read_result(GrantInfo, post("/v1/grants", _words(privilege, on, to)))

    def revoke(self, privilege: str, on: str, to: str) -> Exchange[GrantInfo]:
        """Revoke a grant."""
        return self._calls.read_result(GrantInfo, delete("/v1/grants", **_words(privilege, on, to)))

    def grants(self, on: str | None = None, to: str | None = None) -> Exchange[list[GrantInfo]]:
        """The grants in force."""
        named = {"on": on, "to": to}
        return self._calls.get_results(GrantInfo, "/v1/grants", **{name: check_name(value, name) for name, value in named.items() if value})

    def policies(self) -> Exchange[list[PolicyInfo]]:
        """The masks, row filters and declassified features in force."""
        return self._calls.get_results(PolicyInfo, "/v1/policies")

    def keys(self) -> Exchange[list[ApiKey]]:
        """All API keys that were ever created, the newest first."""
        return self._calls.get_results(ApiKey, "/v1/keys")

    def revoke_key(self, id: str) -> Exchange[ApiKey]:
        """Revoke an API key."""
        return self._calls.read_result(ApiKey, delete(f"/v1/keys/{path_part(id, 'id')}"))


def _words(privilege: str, on: str, to: str) -> dict[str, str]:
    return {name: check_name(value, name) for name, value in (("privilege", privilege), ("on", on), ("to", to))}
