"""The folder of copies: bounded, evicted by use, and closed to any other name."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import OutOfResources
from featurestore.settings import Settings
from featurestore.sharing.copies import KEPT_SECONDS, STALE_SECONDS, Copies, remove_copies

SCHEMA = pa.schema([("x", pa.binary())])


def name_of(number: int) -> str:
    """The name of a copy."""
    return f"{number:064x}.parquet"


def rows(size: int) -> Iterator[pa.RecordBatch]:
    """A row that is not compressed to less."""
    yield pa.record_batch([pa.array([os.urandom(size)])], schema=SCHEMA)


def age(copies: Copies, number: int, seconds: float) -> None:
    """Make a copy older."""
    then = time.time() - seconds
    os.utime(copies.folder / name_of(number), (then, then))


def held(copies: Copies) -> list[int]:
    """The numbers of the copies that are there, without marking them as used."""
    return sorted(int(path.stem, 16) for path in copies.folder.iterdir())


def test_a_copy_is_found_again_as_it_was_written(tmp_path: Path) -> None:
    copies = Copies(Settings(home=tmp_path))
    assert copies.find(name_of(1)) is None
    written = copies.write(name_of(1), SCHEMA, rows(10))
    assert copies.find(name_of(1)) == written
    assert (written.rows, written.size) == (1, (copies.folder / name_of(1)).stat().st_size)
    assert pq.read_table(copies.folder / name_of(1)).schema.equals(SCHEMA)
    for path in (copies.folder, copies.folder / name_of(1)):
        assert path.stat().st_mode & 0o077 == 0, "only the owner may read it"
    remove_copies(Settings(home=tmp_path))
    assert copies.find(name_of(1)) is None


def test_the_least_recently_used_go_first_and_those_in_use_stay(tmp_path: Path) -> None:
    small = Settings(home=tmp_path, sharing_cache="100KB")
    copies = Copies(small)
    for number in range(4):
        copies.write(name_of(number), SCHEMA, rows(20_000))
    for number in range(4):
        age(copies, number, KEPT_SECONDS + 100 - number)
    assert copies.find(name_of(0)) is not None, "used again"
    copies = Copies(small)
    copies.write(name_of(4), SCHEMA, rows(20_000))
    # Down to half of the limit, from the oldest on, before the new one.
    assert held(copies) == [0, 3, 4]
    with pytest.raises(OutOfResources, match="sharing_cache"):
        Copies(small).write(name_of(5), SCHEMA, rows(60_000))
    assert held(copies) == [0, 4], "what did not fit leaves nothing behind"


def test_stale_copies_go(tmp_path: Path) -> None:
    copies = Copies(Settings(home=tmp_path))
    for number in range(2):
        copies.write(name_of(number), SCHEMA, rows(10))
    age(copies, 0, STALE_SECONDS + 1)
    copies = Copies(Settings(home=tmp_path))
    copies.write(name_of(2), SCHEMA, rows(10))
    assert held(copies) == [1, 2]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    copies = Copies(Settings(home=tmp_path))

    def fail() -> Iterator[pa.RecordBatch]:
        yield from rows(10)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        copies.write(name_of(1), SCHEMA, fail())
    assert list(copies.folder.iterdir()) == []


@settings(deadline=None)
@given(
    st.one_of(
        st.text(), st.from_regex(r"(\.\./){1,3}[a-z]{1,5}(\.parquet)?"), st.sampled_from(["/etc/passwd", "..", "", "\0", "signing.key"])
    )
)
def test_no_other_name_is_a_file(name: str) -> None:
    assert Copies(Settings(home=Path("/"))).path(name) is None


def test_an_erasure_removes_all_copies(own_shop: FeatureStore) -> None:
    copies = Copies(own_shop.settings)
    copies.write(name_of(1), SCHEMA, rows(10))
    own_shop.erase("customer", 1, dry_run=True)
    assert held(copies) == [1]
    own_shop.erase("customer", 1)
    assert held(copies) == []
