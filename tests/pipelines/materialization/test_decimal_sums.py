"""Sums, means and standard deviations of decimals near 38 digits: the right value, or an error that names view and feature."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import RequestError
from tests.worlds import STAMP, load_source

AT = datetime(2026, 3, 1, tzinfo=UTC)
FITS, BEYOND = Decimal(4 * 10**37), Decimal(6 * 10**37)


def test_near_38_digits(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "home") as store:
        for name, value in (("fits", FITS), ("beyond", BEYOND)):
            columns = {"k": pa.array([1, 1]), "t": pa.array([AT, AT + timedelta(hours=1)], STAMP)}
            load_source(store, f"raw.{name}", pa.table({**columns, "d": pa.array([value, value], pa.decimal128(38, 0))}))
            source = Source(name, table=f"raw.{name}", timestamp="t")
            for function in ("sum", "mean"):
                features = {"x": getattr(agg, function)("d", over="2d")}
                view = FeatureView(f"{name}_{function}", entity=Entity("e", keys="k"), source=source, every="1d", features=features)
                store.apply([FeatureService(f"of_{name}_{function}", features=[view])])
        store.materialize(["fits_sum", "fits_mean"], end="2026-03-02")
        assert store.online_features("of_fits_sum", [{"k": 1}]).rows == ((2 * FITS,),)
        assert store.online_features("of_fits_mean", [{"k": 1}]).rows == ((4e37,),)
        for function in ("sum", "mean"):
            with pytest.raises(
                RequestError, match=f"view beyond_{function}: the values that x_2d adds up have a sum beyond 38 digits"
            ) as caught:
                store.materialize([f"beyond_{function}"], end="2026-03-02")
            assert "HUGEINT" not in str(caught.value)


def test_deviations_of_numbers_that_agree_in_all_digits_of_a_double(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "home") as store:
        cents = [Decimal("12345678901234567890.01") + Decimal(step) / 100 for step in range(3)]
        columns = {"k": pa.array([1] * 3), "t": pa.array([AT + timedelta(hours=hour) for hour in range(3)], STAMP)}
        numbers = {"d": pa.array(cents, pa.decimal128(22, 2)), "n": pa.array([2**60, 2**60 + 2, 2**60 + 4])}
        load_source(store, "raw.near", pa.table({**columns, **numbers}))
        features = {"d": agg.stddev("d", over="2d"), "n": agg.stddev("n", over="2d")}
        source = Source("near", table="raw.near", timestamp="t")
        store.apply(
            [FeatureService("s", features=[FeatureView("v", entity=Entity("e", keys="k"), source=source, every="1d", features=features)])]
        )
        store.materialize(end="2026-03-02")
        assert store.online_features("s", [{"k": 1}]).rows == ((0.01, 2.0),)
