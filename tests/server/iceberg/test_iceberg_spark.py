"""Spark with Iceberg's own runtime lists and reads the tables of a server: the newest rows, a snapshot and a tag."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import shop
from tests.server.iceberg.conftest import Lake

pytestmark = pytest.mark.slow

VARIABLE = "PYSPARK_35"
INSTALL = (
    f"could not import 'pyspark' of release 3.5, for which the runtime is built: python -m venv spark35 && spark35/bin/pip install"
    f" pyspark==3.5.9, and name spark35/bin/python in the variable {VARIABLE}"
)
READ = """
import json, sys
from pyspark.sql import SparkSession
given = json.loads(sys.argv[1])
builder = SparkSession.builder.master("local[1]")
for name, value in given["conf"].items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
rows = {query: [list(row) for row in spark.sql(query).collect()] for query in given["queries"]}
try:
    spark.sql("DELETE FROM lake.shop.orders WHERE amount > 0")
except Exception as error:
    rows["refused"] = str(error)
print(json.dumps(rows, default=str))
"""


def test_spark_reads_tables_of_a_server(lake: Lake) -> None:
    python = os.environ.get(VARIABLE) or pytest.skip(INSTALL)
    iceberg = pytest.importorskip("snowpark_connect_deps_iceberg")
    (jar,) = Path(iceberg.__file__).parent.glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar")
    first = lake.store.catalog.load_table("shop.orders").snapshots()[0].snapshot_id
    training_set = lake.store.training_sets()[0].id
    table = lake.store.catalog.load_table("training_sets.plain")
    built = table.snapshot_by_name(f"training-set-{training_set}")
    assert built is not None
    queries = {
        "SHOW TABLES IN lake.shop": [["shop", "orders", False], ["shop", "profiles", False]],
        "SELECT count(*) FROM lake.shop.orders": [[3 * shop.order_rows().num_rows]],
        f"SELECT count(*) FROM lake.shop.orders VERSION AS OF {first}": [[shop.order_rows().num_rows]],
        "SELECT count(*) FROM lake.shop.orders VERSION AS OF 'release-1'": [[shop.order_rows().num_rows]],
        "SELECT amount FROM lake.shop.orders VERSION AS OF 'release-1' ORDER BY amount": [
            [amount] for amount in sorted(shop.order_rows().column("amount").to_pylist())
        ],
        f"SELECT count(*) FROM lake.training_sets.plain VERSION AS OF 'training-set-{training_set}'": [
            [table.scan(snapshot_id=built.snapshot_id).to_arrow().num_rows]
        ],
    }
    conf = {
        "spark.jars": str(jar),
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "rest",
        "spark.sql.catalog.lake.uri": f"{lake.served.url}/iceberg",
        "spark.sql.catalog.lake.warehouse": "featurestore",
        "spark.sql.catalog.lake.token": lake.tokens["everything"],
    }
    # Its Spark, and not that of this environment.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    given = json.dumps({"conf": conf, "queries": list(queries)})
    done = subprocess.run(
        [python, "-c", READ, given], check=True, timeout=300, text=True, stdout=subprocess.PIPE, env={**variables, "PYSPARK_PYTHON": python}
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert "Server does not support endpoint" in found.pop("refused")
    assert found == queries
