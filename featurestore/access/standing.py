"""Whether a principal may still do what it asked for earlier: a job begins when others are done."""

from featurestore.access.claim import Claim
from featurestore.access.grant_book import GrantBook
from featurestore.access.keys import read_keys
from featurestore.access.policy_book import PolicyBook
from featurestore.access.rights import Rights
from featurestore.errors import Forbidden
from featurestore.records.runtime import Runtime
from featurestore.values import times


def check_standing(runtime: Runtime, claim: Claim) -> Rights:
    """Check that the API key of a principal is still accepted, and that it still has its rights, which are returned as they are now.

    Raises: Forbidden; NotReady.
    """
    principal = claim.principal
    if principal.key is not None:
        key = read_keys(runtime).get(principal.key)
        if key is None or not key.is_live(times.now()):
            raise Forbidden(
                f"{principal.name} asked for this job with the API key {principal.key}, which has been revoked or has expired since; ask"
                " for it again with a live one",
                principal=principal.name,
                key=principal.key,
            )
    if principal.is_administrator:
        return Rights(principal)
    book = GrantBook(runtime)
    book.refresh()
    policies = PolicyBook(runtime)
    policies.refresh()
    rights = Rights(principal, book, policies).frozen()
    if not claim.needs:
        rights.require_unlimited("this job")
    for privilege, on in claim.needs:
        rights.require(privilege, on.kind, on.name)
    return rights
