"""What principals under policies see of training sets, joins, grids and spines, compared with what the rows are."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Mask, RowFilter, Source, TablePolicy
from featurestore.access.claim import Claim
from featurestore.access.principal import Principal
from featurestore.access.standing import check_standing
from featurestore.errors import FeatureStoreError, Forbidden
from featurestore.joins import join
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.pipelines.training_sets.spooled import spool
from featurestore.spines.reading import load_spine
from featurestore.spines.spine import Spine
from featurestore.store import PrincipalStore
from featurestore.store.feature_store import confine
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 1, tzinfo=UTC)
CUSTOMERS = Entity("customer", keys="customer_id")
SECRET = "canary"
PROFILE = FeatureView(
    "profile",
    CUSTOMERS,
    Source("customers", table="shop.customers", timestamp="at"),
    features=["email", "country", "age", "ref", "score"],
    masks={
        "email": Mask("'***' || right(email, 2)", unless=["pii"]),
        "age": Mask("age // 10 * 10"),
        "ref": Mask("NULL"),
        "score": Mask("CAST(email AS DOUBLE)"),
    },
    rows=RowFilter("country = 'DE' AND customer_id < 100", unless=["world"]),
)
PLAIN = FeatureView("plain", CUSTOMERS, Source("plain", table="shop.plain", timestamp="at"), features=["points"])
SERVICE = FeatureService("churn", [PROFILE["age", "email", "score", "ref"], PLAIN], derived={"old": "age + points"})
GRID = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-03T12:00:00Z", "every": "1d"}


def customers() -> pa.Table:
    """Customers of which every third is hidden; customer 2 leaves the country, so that an older row of hers would rise."""
    rows = []
    for day in range(3):
        for key in range(6):
            country = "FR" if key % 3 == 0 or (key == 2 and day == 1) else None if key == 5 else "DE"
            rows.append(
                {
                    "customer_id": key,
                    "at": START + timedelta(days=day),
                    "email": f"{SECRET}{key}@{day}",
                    "country": country,
                    "age": 31 + key + day,
                    "ref": str(uuid.UUID(int=key)),
                    "score": key / 2,
                }
            )
    table = pa.Table.from_pylist(rows)
    return table.set_column(1, "at", table.column("at").cast(STAMP))


def plain() -> pa.Table:
    rows = {"customer_id": [1, 2, 3], "at": pa.array([START] * 3, STAMP), "points": [10, 20, 30]}
    return pa.table(rows)


def spine() -> pa.Table:
    """Each customer at noon of three days, and one who does not exist."""
    pairs = [(key, START + timedelta(days=day, hours=12)) for day in range(3) for key in (5, 4, 3, 2, 1, 0, 77)]
    return pa.table({"customer_id": [key for key, _ in pairs], "asked_at": pa.array([at for _, at in pairs], STAMP)})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with both views materialized, and policies on a view and on its source table."""
    with FeatureStore(home=tmp_path_factory.mktemp("home")) as store:
        load_source(store, "shop.customers", customers())
        load_source(store, "shop.plain", plain())
        masked = {"email": Mask("left(email, 1)", unless=["pii"])}
        table = TablePolicy("shop.customers", masks=masked, rows=RowFilter("country = 'DE'", unless=["world"]))
        store.apply([PROFILE, PLAIN, SERVICE, table])
        store.materialize()
        store.grant("READ", "CATALOG", "GROUP readers")
        store.grant("WRITE", "CATALOG", "GROUP readers")
        yield store


def him(store: FeatureStore, *groups: str) -> PrincipalStore:
    """A principal with all rights to read, in these further groups."""
    return store.as_principal("him", ["readers", *groups])


def shown(row: Mapping[str, Any], *groups: str) -> dict[str, Any]:
    """What is shown of a row of the operator's join, which also has the country."""
    visible = "world" in groups or row["country"] == "DE"
    masked = {
        "age": row["age"] and row["age"] // 10 * 10,
        "email": row["email"] if "pii" in groups else row["email"] and f"***{row['email'][-2:]}",
        "score": None,
        "ref": None,
    }
    features = masked if visible else dict.fromkeys(masked)
    points = row["points"]
    old = None if features["age"] is None or points is None else features["age"] + points
    return {"customer_id": row["customer_id"], "asked_at": row["asked_at"], **features, "points": points, "old": old}


@pytest.mark.parametrize("divisor", [2, 10**7, 10**15], ids=["memory", "buckets", "engine"])
@pytest.mark.parametrize("known", ["now", "then"])
def test_joins_show_what_policies_make_of_the_selected_rows(
    store: FeatureStore, known: Any, divisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "MEMORY_DIVISOR", divisor)
    everything = FeatureService("everything", [PROFILE, PLAIN])
    store.apply([everything])
    # Rows are created when they are materialized, which is later than all times of the spine.
    rows = spine() if known == "now" else spine().set_column(1, "asked_at", pa.array([datetime(2030, 1, 1, tzinfo=UTC)] * 21, STAMP))
    raw = store.point_in_time("everything", rows, "asked_at", known=known).to_pylist()
    assert any(row["email"] for row in raw)
    assert any(row["country"] == "FR" for row in raw)
    for groups in ((), ("pii",), ("world",), ("pii", "world")):
        seen = him(store, *groups).point_in_time("churn", rows, "asked_at", known=known)
        assert seen.to_pylist() == [shown(row, *groups) for row in raw], groups
        operators = store.point_in_time("churn", rows, "asked_at", known=known)
        assert seen.schema == operators.schema, "types are those of the columns, whatever the masks"


def test_an_older_row_does_not_rise(store: FeatureStore) -> None:
    rows = him(store, "pii").point_in_time("churn", spine(), "asked_at").to_pylist()
    of_two = [row["email"] for row in rows if row["customer_id"] == 2]
    assert of_two == [f"{SECRET}2@0", None, f"{SECRET}2@2"]


def test_training_sets_are_those_of_their_policies(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    build = {"service": "churn", "spine": spine(), "timestamp": "asked_at"}
    raw = store.training_set(**build)
    assert "policies" not in raw.manifest
    assert "principal" not in raw.manifest
    first, same = him(store).training_set(**build), store.as_principal("her", ["readers", "other"]).training_set(**build)
    other, whole = him(store, "world").training_set(**build), him(store, "world", "pii")
    assert len({raw.id, first.id, other.id}) == 3
    assert same.id == first.id
    assert same.manifest["principal"] == "him"
    assert set(first.manifest["policies"]["objects"]) == {"VIEW profile"}
    entry = first.manifest["policies"]["objects"]["VIEW profile"]
    assert (entry["masks"], entry["rows"]) == (["age", "email", "ref", "score"], True)
    assert SECRET not in json.dumps([first.manifest, first.statistics])
    assert "***" not in json.dumps(first.manifest), "the SQL of a mask may hold a secret"
    assert first.read().read_all().to_pylist() == him(store).point_in_time("churn", spine(), "asked_at").to_pylist()

    ways: list[Callable[[Any, str], object]] = [
        lambda reader, id: reader.get_training_set(id),
        lambda reader, id: reader.rebuild(id),
        lambda reader, id: reader.compare(id, id),
    ]
    for reads in ways:
        reads(him(store), first.id)
        reads(store, first.id)
        for reader, id in ((him(store, "world"), first.id), (him(store), raw.id), (whole, raw.id), (him(store), other.id)):
            with pytest.raises(Forbidden, match="other policies") as caught:
                reads(reader, id)
            assert SECRET not in str(caught.value)
    assert {made.id for made in him(store).training_sets()} == {first.id}
    assert {made.id for made in store.training_sets()} >= {first.id, raw.id, other.id}
    # An administrator rebuilds it under its own policies, also when others are in force.
    store.apply([TablePolicy("profile", masks={"email": Mask("NULL")}, declassify_rows=True)])
    try:
        assert store.rebuild(first.id).digest == first.digest
        with pytest.raises(Forbidden, match="other policies"):
            him(store).rebuild(first.id)
    finally:
        store.apply([PROFILE])
    assert him(store).rebuild(first.id).digest == first.digest


def test_grids_have_no_keys_of_hidden_rows(store: FeatureStore) -> None:
    store.apply([FeatureService("alone", [PROFILE["age"]])])

    def keys(reader: Any, service: str) -> set[int]:
        return set(reader.point_in_time(service, **GRID).column("customer_id").to_pylist())

    assert keys(store, "alone") == {0, 1, 2, 3, 4, 5}
    assert keys(him(store), "alone") == {1, 2, 4}
    assert keys(him(store, "world"), "alone") == {0, 1, 2, 3, 4, 5}
    # A key that a view shows is there, whatever others hide.
    assert keys(him(store), "churn") == {1, 2, 3, 4}


def test_spines_are_what_policies_show_before_sql_reads_them(store: FeatureStore) -> None:
    def read(reader: Any, text: str) -> list[dict[str, Any]]:
        service = FeatureService("points", [PLAIN])
        store.apply([service])
        return reader.point_in_time("points", text, "at").to_pylist()  # type: ignore[no-any-return]

    for text in ("iceberg:shop.customers", "SELECT * FROM shop.customers"):
        seen = read(him(store), text)
        assert [(row["customer_id"], row["email"]) for row in seen] == [
            (row["customer_id"], "c") for row in read(store, text) if row["country"] == "DE"
        ]
        assert len(read(him(store, "world"), text)) == 18
    # A condition of the query sees masked values, and no error tells what is hidden.
    where = "SELECT customer_id, at FROM shop.customers WHERE "
    assert read(him(store), f"{where}email LIKE '{SECRET}%'") == []
    assert len(read(store, f"{where}email LIKE '{SECRET}%'")) == 18
    assert read(him(store), f"{where}country = 'FR'") == []
    hidden = f"{where}CASE WHEN country = 'FR' THEN CAST(email AS INTEGER) > 0 ELSE customer_id = 1 END"
    assert {row["customer_id"] for row in read(him(store), hidden)} == {1}
    with pytest.raises(FeatureStoreError):
        read(store, hidden)
    # A feature table has the policy of its view; other versions of rows are rows of their own there.
    feature_rows = "SELECT customer_id, feature_timestamp AS at, email, country FROM features.profile_v1"
    assert {row["email"][:3] for row in read(him(store), feature_rows)} == {"***"}
    assert {row["country"] for row in read(him(store), feature_rows)} == {"DE"}
    built = him(store).training_set("points", "SELECT customer_id, at FROM shop.customers", "at")
    assert set(built.manifest["policies"]["objects"]) == {"TABLE shop.customers"}
    assert him(store).get_training_set(built.id).id == built.id
    with pytest.raises(Forbidden):
        him(store, "world").get_training_set(built.id)
    # A training set as a spine is read by whom it is shown to, and what is made of it is under its policies too.
    of_set = "SELECT customer_id, at FROM training_sets.points"
    nested = him(store).training_set("points", of_set, "at", name="nested")
    assert nested.manifest["policies"]["digest"] == built.manifest["policies"]["digest"]
    with pytest.raises(Forbidden, match="other policies"):
        read(him(store, "world"), of_set)
    with pytest.raises(Forbidden, match="other policies"):
        him(store, "world").get_training_set(nested.id)
    raw = store.training_set("points", of_set, "at", name="raw")
    with pytest.raises(Forbidden, match="other policies"):
        him(store).get_training_set(raw.id)
    for table in ("registry.policies", "registry.statistics"):
        with pytest.raises(Forbidden, match="only administrators"):
            read(him(store), f"iceberg:{table}")


def test_renamed_columns_stay_masked(store: FeatureStore) -> None:
    rows = pa.table({"customer_id": [1], "at": pa.array([START], STAMP), "secret": [SECRET]})
    table = load_source(store, "shop.renamed", rows)
    store.apply([FeatureService("points", [PLAIN]), TablePolicy("shop.renamed", masks={"secret": Mask("'x'")})])
    before = table.current_snapshot().snapshot_id  # type: ignore[union-attr]

    def read(snapshot: str = "") -> str:
        found = him(store).point_in_time("points", f"iceberg:shop.renamed{snapshot}", "at")
        return json.dumps(found.to_pylist(), default=str)

    assert SECRET not in read()
    with table.update_schema() as update:
        update.rename_column("secret", "innocent")
    for snapshot in ("", f"@{before}"):
        with pytest.raises(Forbidden, match="masks the column secret"):
            read(snapshot)
    store.apply([TablePolicy("shop.renamed", masks={"innocent": Mask("'x'")})])
    assert SECRET not in read()
    assert SECRET not in read(f"@{before}")
    # Another column gets the name that the policy names.
    with table.update_schema() as update:
        update.rename_column("innocent", "plain")
    with table.update_schema() as update:
        update.add_column("innocent", StringType())
    for rules in ({"masks": {"innocent": Mask("'x'")}}, {"rows": RowFilter("innocent <> 'x'")}):
        store.apply([TablePolicy("shop.renamed", **rules)])
        for snapshot in ("", f"@{before}"):
            with pytest.raises(Forbidden, match=r"the column plain of .* was renamed"):
                read(snapshot)
    store.apply([TablePolicy("shop.renamed", masks={"innocent": Mask("'x'"), "plain": Mask("'y'")})])
    assert SECRET not in read()


def test_jobs_build_for_whom_they_were_asked(store: FeatureStore, tmp_path: Path) -> None:
    asked = him(store).prepare_training_set(TrainingSetRequest.of("churn", spine(), "asked_at", name="job"))
    spool(asked, tmp_path)
    claim = Claim(Principal("him", frozenset({"readers"})), him(store).needs_of_build("churn", "job"))
    worker = confine(store, rights=check_standing(store.backend.runtime, claim))
    store.apply([TablePolicy("profile", masks={"email": Mask("NULL")}, declassify_rows=True)])
    try:
        changed = confine(store, rights=check_standing(store.backend.runtime, claim))
        with pytest.raises(Forbidden, match="have changed since"):
            changed.backend.store_training_set(changed.backend.load_spooled(tmp_path))
    finally:
        store.apply([PROFILE])
    worker.backend.store_training_set(worker.backend.load_spooled(tmp_path))
    built = him(store).get_training_set(asked.id)
    assert SECRET not in json.dumps(built.read().read_all().to_pylist(), default=str)
    with pytest.raises(Forbidden, match="other policies"):
        him(store, "pii").get_training_set(asked.id)


def test_a_verb_reads_rows_and_records_policies_in_one_state(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    person = him(store)
    changes: list[TablePolicy] = [TablePolicy("shop.plain", rows=RowFilter("customer_id = 1")), TablePolicy("plain", declassify_rows=True)]

    def load_and_change(*arguments: Any) -> Spine:
        """Read the spine; then a policy is made stricter, and another request of the same principal follows it."""
        read = load_spine(*arguments)
        store.apply(changes)
        assert "TABLE shop.plain" in {rule.on for rule in person.policies()}
        return read

    sql = "SELECT customer_id, at AS asked_at FROM shop.plain"
    request = TrainingSetRequest.of("churn", sql, "asked_at", name="state")
    monkeypatch.setattr("featurestore.pipelines.training_sets.prepared.load_spine", load_and_change)
    try:
        asked = person.prepare_training_set(request)
        assert (asked.spine.rows, set(asked.policies)) == (3, {"VIEW profile"}), "as before the change"
        monkeypatch.undo()
        with pytest.raises(Forbidden, match="have changed since"):
            person._store.backend.store_training_set(asked)
        now = person.prepare_training_set(request)
        assert (now.spine.rows, set(now.policies)) == (1, {"VIEW profile", "TABLE shop.plain"})
        assert now.id != asked.id
    finally:
        store.apply([TablePolicy("shop.plain"), TablePolicy("plain")])
