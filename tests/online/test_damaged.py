"""Truncated or invalid LMDB files raise our error, in separate processes, since such a file can kill its reader."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import pytest

from featurestore.errors import NotReady
from featurestore.online.lmdb.pages import damage
from featurestore.online.lmdb.store import LmdbStore
from featurestore.online.store import Cursor, OnlineStore
from tests.forked import fork_context
from tests.online.processes import publish_round
from tests.online.worlds import table

KEYS = 5000
PAGE = 4096
WITHIN = """
import os, sys
from featurestore.online.lmdb.store import LmdbStore

store = LmdbStore(sys.argv[1])

def read(transaction):
    os.truncate(os.path.join(sys.argv[1], "data.mdb"), 2 * 4096)
    return list(transaction.cursor().iternext())

store._environment.read(read, None)
"""

PAGES = """
import sys
from pathlib import Path
from random import Random
from featurestore.errors import NotReady
from featurestore.online.lmdb.store import LmdbStore
from tests.online.test_damaged import KEYS, PAGE

folder, chance = Path(sys.argv[1]), Random(1)
file, wanted = folder / "data.mdb", [("v", [(key,) for key in range(KEYS)])]

def read():
    store = LmdbStore(folder, readonly=True)
    try:
        return store.read(wanted)
    finally:
        store.close()

sound, answer = file.read_bytes(), read()
same = refused = 0
for number in range(0, len(sound) // PAGE, 5):
    for other in (bytes(PAGE), (b"text " * 900)[:PAGE], chance.randbytes(PAGE)):
        file.write_bytes(sound[: number * PAGE] + other + sound[(number + 1) * PAGE :])
        try:
            found = read()
        except NotReady as error:
            assert "is damaged" in str(error)
            refused += 1
        else:
            assert found == answer, number
            same += 1
print(same, refused)
"""


def uses(store: OnlineStore) -> list[Callable[[], object]]:
    """What is done with a store, each first where it matters: it looks at the file before it reads from it."""
    rows = table([(1, 1, 1, 1)])
    return [
        lambda: store.generation(),  # noqa: PLW0108 - as the others
        lambda: store.cursor("v"),
        lambda: store.publish("v", rows, keys=["customer_id"], cursor=Cursor(2, 2)),
        lambda: store.read([("v", [(key,) for key in range(KEYS)])]),
    ]


def cut(part: float) -> Callable[[str], None]:
    return lambda path: os.truncate(path, int(os.path.getsize(path) * part) // 512 * 512)


def overwritten(data: bytes) -> Callable[[str], None]:
    def write(path: str) -> None:
        with open(path, "wb") as file:
            file.write(data)

    return write


DAMAGES: dict[str, Callable[[str], None]] = {
    "text": overwritten(b"customer_id,amount\n" * 200),
    "short text": overwritten(b"hello"),
    "zeros": lambda path: overwritten(bytes(os.path.getsize(path) // 2))(path),
    "half": cut(0.5),
    "all but the last page": cut(0.99),
    "the first page alone": lambda path: os.truncate(path, PAGE),
    "both meta pages alone": lambda path: os.truncate(path, 2 * PAGE),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a table of some thousand rows."""
    folder = tmp_path_factory.mktemp("sound")
    store = LmdbStore(folder)
    publish_round(store, "v", 1, KEYS)
    publish_round(store, "v", 2, KEYS)
    store.close()
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "online"))


def use_damaged(folder: Path, name: str, when: str, parent: Connection) -> None:
    """Damage a store's file after or before it is opened, use the store in every way, and tell the parent each refusal."""
    file = str(folder / "data.mdb")
    store = LmdbStore(folder) if when == "open" else None
    if store is not None:
        for use in uses(store):
            use()
    DAMAGES[name](file)
    for readonly in (True, False) if store is None else (None,):
        try:
            opened = store or LmdbStore(folder, readonly=bool(readonly))
        except NotReady as error:
            parent.send(str(error))
            continue
        for use in uses(opened):
            try:
                use()
            except NotReady as error:
                parent.send(str(error))
            else:
                raise AssertionError("an answer from a damaged file")


def use_in_process(folder: Path, name: str, when: str) -> list[str]:
    """What a process says that uses a damaged store in every way."""
    context = fork_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=use_damaged, args=(folder, name, when, theirs), daemon=True)
    process.start()
    theirs.close()
    process.join(60)
    assert process.exitcode == 0
    said = []
    with ours, suppress(EOFError):
        while True:
            said.append(ours.recv())
    return said


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_said_when_it_is_opened(folder: Path, name: str) -> None:
    said = use_in_process(folder, name, "before")
    assert len(said) == 2
    assert all(f"{folder} is damaged" in line and "delete the folder and run featurestore publish" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_cut_off_under_an_open_process_is_said(folder: Path, name: str) -> None:
    said = use_in_process(folder, name, "open")
    assert len(said) == 4
    assert all(f"{folder} is damaged" in line for line in said)


@pytest.mark.slow
def test_a_process_that_is_killed_by_a_file_cut_off_within_its_read_is_followed_by_one_that_says_so(folder: Path) -> None:
    """The first is ended by the system. What replaces it must not be."""
    command = [sys.executable, "-W", "ignore", "-c", WITHIN, str(folder)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode == -signal.SIGBUS
    for readonly in (True, False):
        with pytest.raises(NotReady, match="is damaged"):
            LmdbStore(folder, readonly=readonly)


def test_a_deleted_folder_is_filled_anew_by_the_process_that_found_it_damaged(folder: Path) -> None:
    store = LmdbStore(folder)
    assert store.cursor("v") == Cursor(2, 2)
    cut(0.5)(str(folder / "data.mdb"))
    with pytest.raises(NotReady, match="damaged"):
        store.generation()
    shutil.rmtree(folder)
    publish_round(store, "v", 3, 10)
    assert store.cursor("v") == Cursor(3, 3)
    store.close()


def test_a_header_that_is_not_ours_is_damage(folder: Path) -> None:
    with lmdb.open(str(folder)) as other, other.begin(write=True) as transaction:
        transaction.put(b"\xfftv", b"\xc1 no header")
    store = LmdbStore(folder)
    with pytest.raises(NotReady, match="is damaged or was written by another program"):
        store.read([("v", [(1,)])])
    with pytest.raises(NotReady, match="is damaged or was written by another program"):
        publish_round(store, "v", 3, 10)
    store.close()


@pytest.mark.slow
def test_pages_of_something_else_give_the_same_answer_or_our_error(folder: Path) -> None:
    """Free pages may have any content; a page in use is distinguished from zeros, text and noise."""
    command = [sys.executable, "-W", "ignore", "-c", PAGES, str(folder)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    counts = [int(number) for number in ran.stdout.split()]
    assert all(count > 20 for count in counts)


@pytest.mark.parametrize("seed", range(3))
def test_sound_files_are_sound_though_their_last_pages_were_never_written(tmp_path: Path, seed: int) -> None:
    """Free pages at the end of a file count as its own, and are not in it until they are used."""
    chance, file, short = random.Random(seed), tmp_path / "data.mdb", 0
    with lmdb.open(str(tmp_path), map_size=1 << 28, sync=False) as environment:
        for size, last in states(environment, chance, file):
            assert damage(file) is None
            short += size < (last + 1) * PAGE
        assert damage(file) is None
        os.truncate(file, file.stat().st_size // 2)
    assert damage(file) is not None
    assert short or seed != 1


def states(environment: lmdb.Environment, chance: random.Random, file: Path) -> Iterator[tuple[int, int]]:
    """Sizes and last pages of a file that is written to, deleted from, and emptied."""
    for _ in range(150):
        with environment.begin(write=True) as transaction:
            for _ in range(chance.choice((5, 50, 500, 3000))):
                key = b"%08d" % chance.randrange(20_000)
                if chance.random() < 0.5:
                    transaction.put(key, chance.randbytes(chance.choice((10, 100, 1000, 9000))))
                else:
                    transaction.delete(key)
            if chance.random() < 0.05:
                for key in list(transaction.cursor().iternext(values=False)):
                    transaction.delete(key)
        yield file.stat().st_size, environment.info()["last_pgno"]
