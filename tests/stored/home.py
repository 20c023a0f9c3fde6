"""A home folder written by an earlier version. `python -m tests.stored.home` makes one with the current code."""

import json
import tarfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg

KEPT = Path(__file__).parent / "home.tar.xz"
EXPECTED = Path(__file__).parent / "expected.json"
HOME = Path("/tmp/featurestore-stored-home")
"""Where the kept folder belongs: its catalog names files by their whole paths."""
START = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = pa.timestamp("us", tz="UTC")

person = Entity("person", keys=["country", "number"])
visits = Source("visits", table="kept.visits", timestamp="at")
profiles = Source("profiles", table="kept.profiles", timestamp="at")
counted = FeatureView(
    "counted",
    entity=person,
    source=visits,
    every="1d",
    features={"visits": agg.count(over=["7d", "30d"]), "spent": agg.sum("amount", over="30d"), "mean": agg.mean("amount", over="7d")},
)
profile = FeatureView("profile", entity=person, source=profiles, features=["level", "credit", "tags", "seen"])
DEFINITIONS = [
    FeatureService(
        "of_person",
        [counted, profile],
        request={"basket": "double"},
        derived={"ratio": "basket / nullif(spent_30d, 0)", "up": "upper(level)"},
    )
]
SPINE = "SELECT country, number, at AS asked_at, amount AS basket FROM kept.visits"
ENTITIES = [{"country": country, "number": number} for country in ("AT", "ü", "XX") for number in (1, 2, 3)]


def visit_rows(days: range) -> pa.Table:
    """Visits of four people, one every few hours."""
    rows = [
        {
            "country": ("AT", "ü")[n % 2],
            "number": n % 3 + 1,
            "at": START + timedelta(days=day, hours=5 * n),
            "amount": float(day * 7 + n) / 3,
        }
        for day in days
        for n in range(4)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema({"country": pa.string(), "number": pa.int64(), "at": STAMP, "amount": pa.float64()}))


def profile_rows(day: int, credit: str) -> pa.Table:
    """A profile of each person, with values that are awkward to store."""
    rows = [
        {
            "country": country,
            "number": number,
            "at": START + timedelta(days=day),
            "level": None if number == 2 else f"level {number}",
            "credit": Decimal(credit) * number,
            "tags": ["a", None, "ß"][:number],
            "seen": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        }
        for country in ("AT", "ü")
        for number in (1, 2, 3)
    ]
    kinds = {"level": pa.string(), "credit": pa.decimal128(38, 4), "tags": pa.list_(pa.string()), "seen": STAMP}
    return pa.Table.from_pylist(rows, schema=pa.schema({"country": pa.string(), "number": pa.int64(), "at": STAMP, **kinds}))


def fill(store: FeatureStore) -> str:
    """Give the store a life: two runs, late rows, deleted ones, a training set. Returns the id of that."""
    store.catalog.create_namespace("kept")
    seen = store.catalog.create_table("kept.visits", schema=visit_rows(range(1)).schema)
    told = store.catalog.create_table("kept.profiles", schema=profile_rows(0, "1").schema)
    seen.append(visit_rows(range(40)))
    told.append(profile_rows(0, "12345678901234567890123456789012.3456"))
    store.apply(DEFINITIONS)
    store.materialize(end=START + timedelta(days=41))
    seen.append(visit_rows(range(30, 45)))
    told.append(profile_rows(20, "-0.0001"))
    told.delete("number = 3 and country = 'AT'")
    store.materialize(end=START + timedelta(days=46))
    made = store.training_set("of_person", SPINE, timestamp="asked_at", name="kept")
    return str(made.id)


def online(store: FeatureStore) -> list[list[Any]]:
    """What lookups of all people give, as JSON has it."""
    features = store.online_features("of_person", ENTITIES, [{"basket": 2.5}] * len(ENTITIES))
    rows: list[list[Any]] = json.loads(features.to_json())["rows"]
    return rows


def make() -> None:
    """Write the folder and what is expected of it."""
    with FeatureStore(home=HOME) as store:
        made = store.get_training_set(fill(store))
        expected = {
            "id": made.id,
            "digest": made.manifest["digest"],
            "training_rows": made.to_arrow().num_rows,
            "online": online(store),
            "fingerprints": {view["name"]: view["fingerprint"] for view in store.views()},
        }
    with tarfile.open(KEPT, "w:xz") as archive:
        archive.add(HOME, arcname=".")
    EXPECTED.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    make()
