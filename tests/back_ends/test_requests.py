"""How many requests a verb sends to S3: bounded, and growing by few for each file that it reads or writes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS
from tests import s3
from tests.s3_proxy import Counts, Proxy, proxy
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)
FEW, MANY = 2, 8
"""Months of events: each is a file of a feature table."""
ROWS = 50
BOUNDS = {"plan": 2, "apply": 9, "materialize": 36, "nothing new": 26, "publish": 6, "training_set": 28, "rebuild": 20, "maintain": 42}
"""The most requests of a verb in a new process, for two views of FEW files each."""
PER_FILE = {"materialize": 1, "training_set": 1, "rebuild": 1}
"""The most requests for each further file: none where a verb is missing."""


@pytest.fixture(scope="module")
def lake() -> Iterator[Proxy]:
    with s3.server() as endpoint, proxy(endpoint) as made:
        yield made


def declare() -> list[FeatureService]:
    thing = Entity("thing", keys="k")
    views = [
        FeatureView(f"view_{column}", entity=thing, source=Source(column, table=f"raw.{column}", timestamp="at"), features=[column])
        for column in ("x", "y")
    ]
    return [FeatureService("service", features=views)]


def rows(months: int, column: str) -> pa.Table:
    times = [START + timedelta(days=31 * month, hours=row) for month in range(months) for row in range(ROWS)]
    keys, values = [row % 5 for row in range(len(times))], [float(row) for row in range(len(times))]
    return pa.table({"k": keys, "at": pa.array(times, STAMP), column: values})


def spine(months: int) -> pa.Table:
    times = [START + timedelta(days=31 * month + 5) for month in range(months)]
    return pa.table({"k": [month % 5 for month in range(months)], "t": pa.array(times, STAMP)})


def count(lake: Proxy, folder: Path, months: int) -> tuple[dict[str, Counts], str]:
    """What each verb sends in a new process, in a new store; and the digest of the training set."""
    made: list[str] = []
    verbs: dict[str, Callable[[FeatureStore], object]] = {
        "plan": lambda store: store.plan(declare()),
        "apply": lambda store: store.apply(declare()),
        "materialize": lambda store: store.materialize(),
        "nothing new": lambda store: store.materialize(),
        "publish": lambda store: store.publish(),
        "training_set": lambda store: made.append(store.training_set("service", spine(months), "t").id),
        "rebuild": lambda store: made.append(store.rebuild(made[0]).digest),
        "maintain": lambda store: store.maintain(older_than=timedelta(0)),
    }
    settings = Settings(home=folder / "home", warehouse=f"s3://lake/{folder.name}", catalog=s3.connection(lake.endpoint, folder))
    with FeatureStore(settings=settings) as store:
        for column in ("x", "y"):
            load_source(store, f"raw.{column}", rows(months, column))
    counts: dict[str, Counts] = {}
    for name, verb in verbs.items():
        for kept in (KEPT, KEPT_COLUMNS):
            kept.clear()
        with FeatureStore(settings=settings) as store:
            lake.take()
            verb(store)
            counts[name] = lake.take()
    return counts, made[1]


def test_requests_of_a_verb_are_bounded(lake: Proxy, tmp_path: Path) -> None:
    few, many = ((tmp_path / name) for name in ("few", "many"))
    for folder in (few, many):
        folder.mkdir()
    (at_first, _), (later, digest) = count(lake, few, FEW), count(lake, many, MANY)
    totals = {name: counts.total for name, counts in at_first.items()}
    assert all(totals[name] <= bound for name, bound in BOUNDS.items()), totals
    further = 2 * (MANY - FEW)
    growth = {name: counts.total - totals[name] for name, counts in later.items()}
    assert all(growth[name] <= PER_FILE.get(name, 0) * further for name in BOUNDS), growth
    for name, counts in later.items():
        # Rows of a training set are digested with pyarrow's file system.
        assert counts.requests["HEAD"] <= (2 if name == "rebuild" else 0), name
        assert counts.requests["POST"] <= 4, f"{name}: small objects are not sent in parts"
        again = {path: number for (kind, path), number in counts.paths.items() if kind == "GET" and number > 1}
        assert all(path.endswith(".parquet") for path in again), f"{name}: metadata are read once"
    with FeatureStore(home=tmp_path / "home") as store:
        for column in ("x", "y"):
            load_source(store, f"raw.{column}", rows(MANY, column))
        store.apply(declare())
        store.materialize()
        assert store.training_set("service", spine(MANY), "t").digest == digest
