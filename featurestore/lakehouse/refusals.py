"""Say what a commit asked for that a catalog refused, and what is lost without it."""

from collections.abc import Sequence

from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    ForbiddenError,
    OAuthError,
    RESTError,
    TooManyRequestsError,
    UnauthorizedError,
)
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import RemoveSnapshotsUpdate, SetSnapshotRefUpdate, TableUpdate

from featurestore.errors import FeatureStoreError, Unsupported
from featurestore.lakehouse.catalog_errors import to_store_error

_NOT_ABOUT_UPDATES = (AuthorizationExpiredError, ForbiddenError, OAuthError, TooManyRequestsError, UnauthorizedError)


def refusal(name: str, updates: Sequence[TableUpdate], error: Exception) -> FeatureStoreError:
    """The error of a commit to the table `name` that a catalog server refused for another reason than a conflict."""
    action = f"committing to {name}; nothing was written"
    known = to_store_error(error, action)
    if isinstance(error, _NOT_ABOUT_UPDATES) or not isinstance(error, RESTError | NotImplementedError):
        return known
    asked = ", ".join(dict.fromkeys(update.action for update in updates))
    if any(isinstance(update, RemoveSnapshotsUpdate) for update in updates):
        needed = "use a catalog that can remove snapshots, or let its own maintenance remove old ones"
    elif any(isinstance(update, SetSnapshotRefUpdate) and update.type == SnapshotRefType.TAG for update in updates):
        needed = (
            "use a catalog that has tags: without them no training set, named version or logged prediction keeps its snapshots, and no"
            " snapshot can be expired safely; views, runs, joins of rows and lookups work"
        )
    else:
        needed = "use a catalog that supports these updates in one commit, and check its log"
    return Unsupported(f"{action}: the catalog refused the updates {asked}; {needed}", table=name, **known.details)
