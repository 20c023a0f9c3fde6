"""Whether a principal may still do what it asked for earlier: a job begins when others are done."""

from featurestore.access.keys import read_keys
from featurestore.access.principal import Principal
from featurestore.errors import Forbidden
from featurestore.records.runtime import Runtime
from featurestore.values import times


def check_standing(runtime: Runtime, principal: Principal) -> None:
    """Check that the API key of a principal is still accepted. Raises: Forbidden; NotReady."""
    if principal.key is None:
        return
    key = read_keys(runtime).get(principal.key)
    if key is None or not key.is_live(times.now()):
        raise Forbidden(
            f"{principal.name} asked for this job with the API key {principal.key}, which has been revoked or has expired since; ask for it"
            " again with a live one",
            principal=principal.name,
            key=principal.key,
        )
