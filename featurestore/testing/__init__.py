"""Unit-test definitions: compute feature rows from source rows given as Python literals, without a catalog.

The rows are computed by the same SQL as in a materialization, and joined like a training set.
"""

from featurestore.testing.verbs import Row, feature_rows, training_rows, utc

__all__ = ["Row", "feature_rows", "training_rows", "utc"]
