"""A feature store on Apache Iceberg: the same definitions for training sets, online lookups and the models between.

The language of definitions is imported at once; what opens catalogs and servers only when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featurestore.dsl import agg, check
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.grant import Grant
from featurestore.dsl.lookup import FeatureLookup
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView

if TYPE_CHECKING:
    from featurestore.client import connect, connect_async
    from featurestore.settings import Settings
    from featurestore.store import FeatureStore
    from featurestore.store_protocol import Store

__all__ = [
    "Csv",
    "Entity",
    "Expression",
    "FeatureLookup",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Grant",
    "Mask",
    "RowFilter",
    "Settings",
    "Source",
    "Store",
    "TablePolicy",
    "agg",
    "check",
    "connect",
    "connect_async",
]

_LATER = {
    "FeatureStore": "featurestore.store",
    "Settings": "featurestore.settings",
    "Store": "featurestore.store_protocol",
    "connect": "featurestore.client",
    "connect_async": "featurestore.client",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'featurestore' has no attribute '{name}'")
    return getattr(import_module(_LATER[name]), name)
