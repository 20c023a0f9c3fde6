"""Sizes as text, with the same meaning everywhere."""

from pathlib import Path

import duckdb
import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import RequestError
from featurestore.settings import load_settings
from featurestore.values import byte_sizes
from featurestore.values.byte_sizes import machine_memory


@pytest.mark.parametrize(
    "text, size",
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("100 bytes", 100),
        ("16KiB", 16 << 10),
        ("1kB", 1000),
        ("1.5GB", 1_500_000_000),
        ("4g", 4 * 10**9),
        ("4Gi", 4 << 30),
        (" 4 GiB ", 4 << 30),
        ("2TiB", 2 << 40),
        ("1PB", 10**15),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert byte_sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "4 GB/s", "4GG", "0x10", "\u0664GB", "50%", "1.GB", "inf"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        byte_sizes.parse(text)


@pytest.mark.parametrize("text", ["4", "0GB", "100kB", "0%", "101%", "-50%", "half"])
@pytest.mark.parametrize("setting", ["memory_limit", "query_memory_limit", "job_memory_limit", "server_memory_limit"])
def test_what_is_no_memory_is_a_wrong_setting(setting: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"(?s){setting}: .*write"):
        load_settings(**{setting: text})


@pytest.mark.parametrize("text", ["1.5GB", "4g", "4GiB", "2TB", "512MiB", "1000000000 bytes"])
def test_units_are_those_of_the_engine(text: str) -> None:
    with (
        duckdb.connect(config={"memory_limit": text}) as theirs,
        duckdb.connect(config={"memory_limit": f"{byte_sizes.parse(text)}B"}) as ours,
    ):
        asked = "SELECT current_setting('memory_limit')"
        assert ours.execute(asked).fetchone() == theirs.execute(asked).fetchone()


def test_a_share_of_the_machine_means_the_same_everywhere(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_limit="25%")
    quarter = machine_memory() // 4
    assert settings.memory_bytes() == settings.query_memory() == quarter
    assert settings.job_memory() == 2 * quarter + (1 << 30)
    with FeatureStore(settings=settings) as store:
        # As the engine tells it, in a tenth of a GiB.
        assert store._runtime.engine.memory == pytest.approx(quarter, abs=1 << 27)
