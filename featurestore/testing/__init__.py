"""Unit tests for definitions: source rows as Python literals in, feature rows out, with no catalog.

The rows are computed by the SQL that a materialization runs and joined as a training set is.
"""

from featurestore.testing.verbs import Row, feature_rows, training_rows, utc

__all__ = ["Row", "feature_rows", "training_rows", "utc"]
