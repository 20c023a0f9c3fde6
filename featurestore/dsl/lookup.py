"""Feature lookups: which features of a table to look up by which columns of a frame, for a service that is made on the fly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FeatureLookup:
    """Features of a written table or a view, looked up by columns of a frame.

    `lookup_key` are the frame's columns with the keys, in the order of the table's keys: one name, a list, or a dict of key and column;
    `feature_names` are by default all features. `rename` maps features to their names in the training set. `timestamp_lookup_key` is the
    frame's column with the time as of which to look up. `lookback` is a duration such as "30d": an older row counts as missing.
    `default` maps features to the values that stand for NULL, in training sets and online.
    """

    table: str
    lookup_key: str | Sequence[str] | Mapping[str, str]
    feature_names: str | Sequence[str] | None = None
    rename: Mapping[str, str] | None = None
    timestamp_lookup_key: str | None = None
    lookback: str | int | None = None
    default: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Lookup:
    """What a feature lookup adds to the selection of a view.

    `label` is unique in the service. `rename` maps features to names in the service; `timestamp` is the spine's column with the time,
    None: that of the spine. `lookback` is a duration; None: the view's ttl. `defaults` maps features to JSON values.
    """

    label: str
    rename: Mapping[str, str] = field(default_factory=dict)
    timestamp: str | None = None
    lookback: str | int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
