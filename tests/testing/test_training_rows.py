"""A service over literals: the columns of the spine, then the features as of each row's time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureService, FeatureStore
from featurestore.errors import DefinitionError, RequestError, TypeMismatch
from featurestore.testing import training_rows, utc
from tests.testing.world import ORDERS, PROFILES, churn, customer_orders, customer_profile
from tests.worlds import load_source

ROWS = {"orders": ORDERS, "profiles": PROFILES}
SPINE: list[dict[str, Any]] = [
    {"label": True, "customer_id": 1, "referrer_id": 9, "observed_at": "2026-01-03T08:00:00Z", "basket": 8},
    {"label": False, "customer_id": 9, "referrer_id": 1, "observed_at": "2026-01-03T08:00:00+00:00", "basket": 8},
    {"label": None, "customer_id": None, "referrer_id": None, "observed_at": "2026-01-03", "basket": None},
    {"label": True, "customer_id": 1, "referrer_id": 9, "observed_at": "2026-01-02", "basket": 8},
]
NO_PROFILE = {"country": None, "referrer_country": None}


def test_a_service_joins_views_aliases_request_fields_and_derived_features() -> None:
    rows = training_rows(churn, ROWS, SPINE, timestamp="observed_at")
    features = ["orders_3d", "mean_order", "country", "referrer_country", "basket_vs_mean"]
    assert list(rows[0]) == [*SPINE[0], *features]
    spines = [{**row, "observed_at": utc(row["observed_at"])} for row in SPINE]
    assert rows == [
        {**spines[0], "orders_3d": 2, "mean_order": 4.0, "country": "BE", "referrer_country": None, "basket_vs_mean": 2.0},
        {**spines[1], "orders_3d": None, "mean_order": None, "country": None, "referrer_country": "BE", "basket_vs_mean": None},
        {**spines[2], "orders_3d": None, "mean_order": None, **NO_PROFILE, "basket_vs_mean": None},
        {**spines[3], "orders_3d": 1, "mean_order": 3.0, "country": "BE", "referrer_country": None, "basket_vs_mean": pytest.approx(8 / 3)},
    ]


def test_known_then_is_asked_of_every_view() -> None:
    only = FeatureService("only", features=[customer_profile])
    spine = [{"customer_id": 1, "t": "2026-01-04"}, {"customer_id": 1, "t": "2026-01-05"}]
    assert [row["country"] for row in training_rows(only, {"profiles": PROFILES}, spine, timestamp="t", known="then")] == ["NL", "BE"]
    with pytest.raises(RequestError, match="source orders has no created column"):
        training_rows(churn, ROWS, SPINE, timestamp="observed_at", known="then")


def test_a_view_or_some_features_of_it_do_as_a_service() -> None:
    spine = [{"customer_id": 2, "t": "2026-01-03"}]
    (row,) = training_rows(customer_orders["spend_3d"], {"orders": ORDERS}, spine, timestamp="t")
    assert row == {"customer_id": 2, "t": utc("2026-01-03"), "spend_3d": 7.0}
    (row,) = training_rows(customer_orders, {"shop.orders": ORDERS}, spine, timestamp="t")
    assert list(row) == ["customer_id", "t", "orders_1d", "orders_3d", "spend_3d", "mean_order"]


def test_a_spine_that_does_not_fit_is_refused_by_name() -> None:
    spine = [{"customer_id": 1, "referrer": 2, "observed_at": "2026-01-03", "basket": 1}]
    with pytest.raises(RequestError, match=r"no key column 'referrer_id'.*did you mean 'referrer'"):
        training_rows(churn, ROWS, spine, timestamp="observed_at")
    with pytest.raises(TypeMismatch, match="the spine: column 'observed_at': 'soon' is str"):
        training_rows(churn, ROWS, [{**SPINE[0], "observed_at": "soon"}], timestamp="observed_at")
    with pytest.raises(TypeMismatch, match=r"the key column 'customer_id'.*'one' is str"):
        training_rows(churn, ROWS, [{**SPINE[0], "customer_id": "one"}], timestamp="observed_at")


def test_what_is_no_service_is_refused_and_no_spine_has_no_rows() -> None:
    with pytest.raises(RequestError, match="training_rows takes a service, a view or some features of a view, not 'churn'"):
        training_rows("churn", ROWS, SPINE, timestamp="observed_at")  # type: ignore[arg-type]
    assert training_rows(churn, ROWS, [], timestamp="observed_at") == []


def test_a_service_that_is_wrong_is_told_as_a_plan_tells_it() -> None:
    wrong = FeatureService("wrong", features=[customer_orders["order_3d"]], derived={"d": "spend_3"})
    with pytest.raises(DefinitionError, match=r"no feature 'order_3d' in customer_orders; did you mean 'orders_3d'"):
        training_rows(wrong, {"orders": ORDERS}, SPINE, timestamp="observed_at")


@pytest.mark.slow
def test_the_store_gives_the_same_rows(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "home") as store:
        load_source(store, "shop.orders", pa.Table.from_pylist([{**row, "ordered_at": utc(str(row["ordered_at"]))} for row in ORDERS]))
        times = [{**row, **{name: utc(str(row[name])) for name in ("updated_at", "known_at")}} for row in PROFILES]
        load_source(store, "shop.profiles", pa.Table.from_pylist(times))
        store.apply([churn])
        store.materialize()
        stored = store.training_set("churn", spine=SPINE, timestamp="observed_at").to_arrow().to_pylist()
    assert training_rows(churn, ROWS, SPINE, timestamp="observed_at") == stored


@pytest.mark.slow
def test_a_first_call_imports_neither_a_catalog_nor_pandas() -> None:
    script = (
        "import sys\nfrom featurestore.testing import training_rows\nfrom tests.testing.world import ORDERS, PROFILES, churn\n"
        f"rows = training_rows(churn, {{'orders': ORDERS, 'profiles': PROFILES}}, {SPINE!r}, timestamp='observed_at')\n"
        "assert len(rows) == 4\n"
        "print(*sorted({'fastapi', 'mlflow', 'pandas', 'pydantic', 'pyiceberg'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
