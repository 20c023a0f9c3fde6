"""A feature store on Apache Iceberg: the same definitions for training sets, online lookups and the models between."""

from featurestore.dsl import agg
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.settings import Settings
from featurestore.store import FeatureStore

__all__ = ["Entity", "Expression", "FeatureService", "FeatureStore", "FeatureView", "Settings", "Source", "agg"]
