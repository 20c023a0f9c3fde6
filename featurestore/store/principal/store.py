"""`PrincipalStore`: the methods of a store with the rights of one principal. Each checks them, and then calls the store's."""

from __future__ import annotations

from featurestore.store.principal.access import PrincipalAccess
from featurestore.store.principal.audit_log import PrincipalAuditLog
from featurestore.store.principal.definitions import PrincipalDefinitions
from featurestore.store.principal.listings import PrincipalListings
from featurestore.store.principal.maintenance import PrincipalMaintenance
from featurestore.store.principal.models import PrincipalModels
from featurestore.store.principal.rows import PrincipalRows
from featurestore.store.principal.sharing import PrincipalSharing
from featurestore.store.principal.training_sets import PrincipalTrainingSets


class PrincipalStore(
    PrincipalTrainingSets,
    PrincipalRows,
    PrincipalListings,
    PrincipalModels,
    PrincipalDefinitions,
    PrincipalMaintenance,
    PrincipalAccess,
    PrincipalSharing,
    PrincipalAuditLog,
):
    """A store as one principal may use it. What it may not do raises Forbidden; lists have only what it may see.

    `FeatureStore` documents the methods. Closing it closes nothing: the store does.
    """
