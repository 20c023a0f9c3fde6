"""Training sets: stored, tagged, found again by the same request, and rebuilt from their snapshots alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import DigestMismatch, NotFound, RequestError
from featurestore.pipelines.training_sets.digest import Digest, table_digest
from featurestore.pipelines.training_sets.progress import BuildProgress
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from tests.worlds import STAMP, Template, load_source

DAY = timedelta(days=1)
T = datetime(2026, 3, 1, tzinfo=UTC)


def events(days: list[int], prices: list[float]) -> pa.Table:
    stamps = pa.array([T + DAY * day for day in days], STAMP)
    return pa.table({"customer_id": pa.array([day % 2 for day in days], pa.int64()), "at": stamps, "price": prices})


def fill(store: FeatureStore) -> None:
    load_source(store, "shop.orders", events([0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0]))
    entity, source = Entity("customer", keys="customer_id"), Source("orders", table="shop.orders", timestamp="at")
    spend = FeatureView("spend", entity=entity, source=source, every="1d", features={"spend": agg.sum("price", over="7d")})
    price = FeatureView("price", entity=entity, source=source, ttl="3d", features=["price"])
    service = FeatureService(
        "churn", features=[spend, price], request={"basket": "double"}, derived={"ratio": "basket / nullif(spend_7d, 0)"}
    )
    store.apply([service])
    store.materialize()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("churn"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def spine(rows: int = 6) -> pa.Table:
    ids = [row % 2 for row in range(rows)]
    times = [T + DAY * row + timedelta(hours=5) for row in range(rows)]
    return pa.table({"customer_id": pa.array(ids, pa.int64()), "t": pa.array(times, STAMP), "basket": [10.0] * rows, "y": ids})


@pytest.mark.slow
def test_the_manifest_says_how_it_came_to_be(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(), "t", label="y", name="march")
    manifest = made.manifest
    assert made.id.startswith("march-")
    assert made.label == "y"
    assert made.timestamp == "t"
    assert manifest["rows"] == 6
    assert manifest["nulls"] == {"spend_7d": 2, "price": 0, "ratio": 2}
    assert manifest["not_covered"] == {"spend": 2, "price": 0}
    assert manifest["peak_memory_bytes"] > 2**20
    assert manifest["digest"] == made.digest == table_digest(made.to_arrow())
    assert set(manifest["views"]) == {"spend_v1", "price_v1"} == set(made.snapshots)
    assert manifest["views"]["spend_v1"]["source_snapshots"].keys() == {"shop.orders"}
    assert all(proof["feature_minus_spine_us"] <= 0 for proof in manifest["leak_certificate"].values())
    roles = {column["name"]: column["role"] for column in manifest["columns"]}
    assert roles == {
        "customer_id": "spine",
        "t": "spine",
        "basket": "spine",
        "y": "spine",
        "spend_7d": "feature",
        "price": "feature",
        "ratio": "derived",
    }
    assert "ASOF" in made.sql
    assert store.get_training_set(made.id).manifest == manifest
    assert [training_set["id"] for training_set in store.training_sets()] == [made.id]
    assert sum(pq.read_metadata(path).num_rows for path in made.files()) == 6


@pytest.mark.slow
def test_the_same_request_gives_the_same_training_set(store: FeatureStore) -> None:
    first = store.training_set("churn", spine(), "t", label="y")
    before = store.catalog.load_table("training_sets.churn").current_snapshot()
    assert store.training_set("churn", spine().to_pandas(), "t", label="y").id == first.id
    assert store.catalog.load_table("training_sets.churn").current_snapshot() == before
    others = [
        store.training_set("churn", spine(5), "t", label="y"),
        store.training_set("churn", spine(), "t"),
        store.training_set("churn", spine(), "t", label="y", known="then"),
        store.training_set("churn", spine(), "t", label="y", name="other"),
    ]
    assert len({first.id, *(other.id for other in others)}) == 5
    assert store.get_training_set(first.id).to_arrow().num_rows == 6


@pytest.mark.slow
def test_a_rebuild_survives_corrections_new_versions_and_upkeep(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(), "t", label="y")
    content = made.to_arrow()
    orders = store.catalog.load_table("shop.orders")
    orders.append(events([0, 4], [100.0, 5.0]))
    assert sum(run.corrections for run in store.materialize()) > 0
    newer = store.training_set("churn", spine(), "t", label="y")
    assert newer.id != made.id
    assert newer.to_arrow() != content
    orders.overwrite(events([1], [7.0]))
    store.materialize()
    store.maintain(older_than=timedelta(0))
    assert store.rebuild(made.id).to_arrow() == content
    with FeatureStore(home=store.settings.home) as fresh:
        assert fresh.rebuild(made.id).digest == made.digest


@pytest.mark.slow
def test_pinned_snapshots_are_tagged_and_can_be_asked_for(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(), "t")
    for table, snapshot_id in made.snapshots.items():
        references = store.catalog.load_table(f"features.{table}").refs()
        assert references[f"training-set-{made.id}"].snapshot_id == snapshot_id
    store.catalog.load_table("shop.orders").append(events([0], [100.0]))
    store.materialize()
    again = store.training_set("churn", spine(), "t", name="again", snapshots=made.snapshots)
    assert again.digest == made.digest


@pytest.mark.slow
def test_a_changed_stored_row_is_a_digest_mismatch(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(), "t")
    table = store.catalog.load_table("training_sets.churn")
    changed = made.to_arrow().set_column(2, "basket", pa.array([11.0] * 6))
    changed = changed.append_column("__fs_row", pa.array(range(6), pa.int64()))
    summary = table.current_snapshot().summary.additional_properties  # type: ignore[union-attr]
    table.overwrite(changed, snapshot_properties={"featurestore.manifest": summary["featurestore.manifest"]})
    table.manage_snapshots().remove_tag(f"training-set-{made.id}").commit()
    current = table.current_snapshot()
    assert current is not None
    table.manage_snapshots().create_tag(current.snapshot_id, f"training-set-{made.id}").commit()
    with pytest.raises(DigestMismatch, match="basket, ratio; row 2: ratio") as caught:
        store.rebuild(made.id)
    assert [row["row"] for row in caught.value.details["rows"]] == [2, 3, 4, 5]
    assert caught.value.details["rows"][0]["columns"] == {"ratio": {"recorded": 10.0, "rebuilt": 11.0}}


@pytest.mark.slow
def test_a_build_holds_what_it_reads_and_lets_go_when_it_fails(store: FeatureStore) -> None:
    def corrected(now: BuildProgress) -> None:
        if not now.rows:
            return
        store.catalog.load_table("shop.orders").append(events([0], [100.0]))
        store.materialize()
        store.maintain(older_than=timedelta(0))

    def stopped(now: BuildProgress) -> None:
        if now.rows:
            raise RequestError("stop")

    prepared = store.backend.prepare_training_set(TrainingSetRequest.of("churn", spine(), "t"))
    with pytest.raises(RequestError, match="stop"):
        store.backend.build_training_set(prepared, stopped)
    assert list(store.catalog.load_table("features.spend_v1").refs()) == ["main"]
    made = store.backend.build_training_set(prepared, corrected)
    assert made.snapshots == {name: at.snapshot_id for name, at in prepared.pinned.items()}
    assert store.rebuild(made.id).digest == made.digest


@pytest.mark.slow
def test_a_spine_past_the_watermark_is_told(store: FeatureStore) -> None:
    late = pa.table({"customer_id": [0], "t": pa.array([datetime.now(UTC) + DAY], STAMP), "basket": [1.0]})
    made = store.training_set("churn", late, "t")
    assert made.manifest["past_watermark"] == {"spend": 1, "price": 1}
    assert len(made.manifest["warnings"]) == 2


@pytest.mark.slow
def test_a_spine_from_before_a_fold_is_told(store: FeatureStore) -> None:
    orders = store.catalog.load_table("shop.orders")
    orders.append(events([0, 4], [100.0, 5.0]))
    store.materialize()
    assert sum(report["dropped_rows"] for report in store.maintain(drop_superseded_after=timedelta(0))) > 0
    then = store.training_set("churn", spine(), "t", known="then")
    assert [warning.partition(" superseded")[0] for warning in then.manifest["warnings"]] == [
        "versions of rows of spend_v1",
        "versions of rows of price_v1",
    ]
    assert store.training_set("churn", spine(), "t").manifest["warnings"] == []


@pytest.mark.slow
def test_an_unknown_id_offers_the_known_ones(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(), "t")
    with pytest.raises(NotFound, match=made.id):
        store.get_training_set(made.id[:-1])


def test_the_digest_knows_content_and_nothing_else() -> None:
    table = pa.table(
        {"a": pa.array([1, None, 3], pa.int64()), "b": ["x", None, "zz"], "c": [[1.0], None, [float("nan")]], "d": [True, False, None]}
    )
    digest = table_digest(table)
    for size in (1, 2):
        pieces = Digest(table.schema)
        for batch in table.to_batches(max_chunksize=size):
            pieces.update(batch)
        assert pieces.table() == digest
    large = table.set_column(1, "b", table["b"].cast(pa.large_string()))
    assert table_digest(large) == digest
    padded = pa.concat_tables([table.slice(0, 1), table, table.slice(2)]).slice(1, 3)
    assert table_digest(padded) == digest
    for other in (
        table.rename_columns(["a", "b", "c", "e"]),
        table.slice(0, 2),
        table.set_column(0, "a", pa.array([1, 0, 3])),
        table.take([1, 0, 2]),
    ):
        assert table_digest(other) != digest
    assert table_digest(pa.table({"a": ["a", "bc"]})) != table_digest(pa.table({"a": ["ab", "c"]}))
