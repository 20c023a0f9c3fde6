"""A full disk, and a map that cannot grow: each write succeeds or raises our error, and the store stays whole.

The disk is full for a process when its limit of a file's size is reached.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from featurestore.errors import OutOfResources
from featurestore.online.files import reserve_lock_file
from featurestore.online.lmdb.store import LmdbStore
from tests.online.processes import SMALL, numbers_in, publish_round

MAP = """
import resource, sys
from pathlib import Path
from featurestore.errors import OutOfResources
from tests.online.processes import numbers_in, open_small, publish_round

url = sys.argv[1]
store, reader = open_small(url), open_small(url, readonly=True)
publish_round(store, "v", 1, 10)
[used] = [int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize:")]
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
try:
    store._environment.write(lambda transaction: None, need_bytes=1 << 40)
except OutOfResources as error:
    print(error)
for opened in (store, reader):
    assert numbers_in(opened.read([("v", [(1,)])])[0]) == {1}
publish_round(store, "v", 2, 10)
assert numbers_in(reader.read([("v", [(1,)])])[0]) == {2}
"""


@contextmanager
def full_disk(file_bytes: int) -> Iterator[None]:
    """No file of this process can become longer than this within the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("spare", [0, 1000, 100_000])
def test_a_publish_to_a_full_disk_writes_all_or_nothing(tmp_path: Path, spare: int) -> None:
    url = tmp_path / "online"
    store = LmdbStore(url, environments=SMALL)
    reader = LmdbStore(url, readonly=True, environments=SMALL)
    publish_round(store, "v", 1, 500)
    for round_number in (2, 3):
        with full_disk((url / "data.mdb").stat().st_size + spare), pytest.raises(OutOfResources, match=r"disk .* is full") as caught:
            publish_round(store, "v", round_number, 20_000)
        assert caught.value.details["resource"] == "disk"
        assert numbers_in(reader.read([("v", [(0,), (499,)])])[0]) == {1}
        assert reader.read([("v", [(500,)])])[0].rows == [None]
        assert reader.incomplete(["v"]) == {}
    publish_round(store, "v", 4, 20_000)
    assert numbers_in(reader.read([("v", [(0,), (19_999,)])])[0]) == {4}
    store.close()
    reader.close()


def test_all_of_the_lock_file_is_on_the_disk(tmp_path: Path) -> None:
    """A hole in it would be filled by the first reader that needs it, which a full disk would kill."""
    store = LmdbStore(tmp_path)
    publish_round(store, "v", 1, 10)
    store.close()
    lock = tmp_path / "lock.mdb"
    size = lock.stat().st_size
    for _ in range(2):
        assert lock.stat().st_blocks * 512 >= lock.stat().st_size == size
        lock.write_bytes(b"")
        lock.touch()
        reserve_lock_file(lock)


def test_a_store_that_cannot_be_opened_on_a_full_disk_says_so(tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(OutOfResources, match=r"disk .* is full"):
        LmdbStore(tmp_path)
    store = LmdbStore(tmp_path)
    publish_round(store, "v", 1, 10)
    with full_disk(100), pytest.raises(OutOfResources, match="is not filled"), store.claim_filling():
        pytest.fail("the progress cannot be shown")
    with store.claim_filling() as show:
        assert show is not None
    store.close()


@pytest.mark.slow
def test_a_map_that_cannot_grow_is_an_error_and_the_store_is_used_on(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", MAP, f"lmdb://{tmp_path}"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "cannot be enlarged" in ran.stdout
