"""Small worlds for tests: source tables in a real catalog."""

import pyarrow as pa
from hypothesis import HealthCheck, Phase, settings
from pyiceberg.table import Table

from featurestore import FeatureStore

STAMP = pa.timestamp("us", tz="UTC")


def load_source(store: FeatureStore, name: str, rows: pa.Table) -> Table:
    """A source table with these rows."""
    store.catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    table = store.catalog.create_table(name, schema=rows.schema)
    if rows.num_rows:
        table.append(rows)
    return table


def on_a_store(examples: int) -> settings:
    """Settings for properties of a whole store: an example takes a good part of a second, so failures are not shrunk."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=[HealthCheck.function_scoped_fixture])
