"""`python -m benchmarks.many [--store sqlite|postgresql|rest] [--seconds N]`: eight processes over one catalog, and random kills.

Three processes materialize, two build training sets, one maintains, one looks features up, and a server answers, while rows come late,
are corrected and are deleted. One of them is killed every second or so and started again. In the end the store must be what a fresh store
makes of the same rows, with every training set that was ever answered. Exits with status 1 if it is not, if a process failed or got stuck.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks import many_roles
from benchmarks.many_checks import problems
from benchmarks.many_stores import STORES
from benchmarks.many_world import FIRST_ROWS, SERVICE, Feeder, open_world
from featurestore import FeatureStore, Settings

PROCESSES = ("materializer",) * 3 + ("builder",) * 2 + ("maintainer", "reader", "server")
KILL_SECONDS = (0.5, 3.0)
FEED_SECONDS = 0.3
STUCK_SECONDS = 120.0
"""No operation takes longer, however busy the machine is; a killed holder of a lease delays others by a fraction of it."""
PRELOADED = [
    "benchmarks.many_roles",
    "featurestore.server.run",
    "featurestore.engine.duck",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
]


class NotAsPromised(Exception):
    """A process failed or got stuck."""


def serve(settings: str, folder: Path, seed: int) -> None:
    """The server: it writes its address to a file."""
    from featurestore.server.run import run_server  # noqa: PLC0415 - only the server needs the web framework

    os.dup2(os.open(folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())

    def announce(address: str) -> None:
        (folder / "server.url").write_text(address)

    run_server(Settings.model_validate_json(settings), announce)


class Crowd:
    """The processes, each killed and started again now and then."""

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        self._settings, self._folder, self._chance = settings.to_json_with_secrets(), folder, random.Random(seed)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._processes: list[tuple[str, BaseProcess]] = [(role, self._start(role)) for role in PROCESSES]
        self.kills: Counter[str] = Counter()

    def _start(self, role: str) -> BaseProcess:
        arguments = (self._settings, self._folder, self._chance.randrange(1 << 30))
        target: Callable[..., None] = serve if role == "server" else many_roles.work
        process = self._context.Process(target=target, args=arguments if role == "server" else (role, *arguments))
        process.start()
        return process

    def kill_one(self) -> None:
        """Kill a process, and start another one in its role. Raises: NotAsPromised if one has ended by itself."""
        self.check()
        number = self._chance.randrange(len(self._processes))
        role, process = self._processes[number]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.kills[role] += 1
        self._processes[number] = (role, self._start(role))

    def check(self) -> None:
        """Raises: NotAsPromised if a process has ended, or works on one operation for too long."""
        for role, process in self._processes:
            if process.exitcode is not None:
                raise NotAsPromised(f"a {role} ended with {process.exitcode}: {_last_note(self._folder, role, process.pid)}")
            note = _last_note(self._folder, role, process.pid)
            if "begin" in note and time.monotonic() - note["at"] > STUCK_SECONDS:
                raise NotAsPromised(f"a {role} is stuck: {note}")

    def end(self) -> None:
        """Let all end by themselves. Raises: NotAsPromised."""
        (self._folder / many_roles.STOP).touch()
        for role, process in self._processes:
            if role == "server":
                process.terminate()
            process.join(STUCK_SECONDS)
            if process.exitcode != 0:
                raise NotAsPromised(f"a {role} ended with {process.exitcode}: {_last_note(self._folder, role, process.pid)}")

    def kill_all(self) -> None:
        """Kill what is left."""
        for _, process in self._processes:
            if process.exitcode is None:
                process.kill()
                process.join()


def _notes(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.notes")):
        for line in file.read_text().splitlines():
            yield {"role": file.name.partition(".")[0], **json.loads(line)}


def _last_note(folder: Path, role: str, pid: int | None) -> dict[str, Any]:
    file = folder / f"{role}.{pid}.notes"
    lines = file.read_text().splitlines() if file.exists() else []
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return last


class Client:
    """Asks the server for features; while it is being killed, it may refuse."""

    def __init__(self, folder: Path) -> None:
        self._address = folder / "server.url"
        self.answers: Counter[int | str] = Counter()
        self.wrong: list[str] = []

    def ask(self) -> None:
        """One lookup."""
        try:
            answer = httpx.post(
                f"{self._address.read_text()}/v1/services/{SERVICE}/online", json={"entities": [{"k": 1}, {"k": 2}]}, timeout=STUCK_SECONDS
            )
        except (httpx.TransportError, FileNotFoundError) as error:
            self.answers[type(error).__name__] += 1
            return
        self.answers[answer.status_code] += 1
        if answer.status_code not in (200, 503):
            self.wrong.append(f"{answer.status_code} {answer.text[:300]}")


@contextmanager
def _repeating(action: Callable[[], object], seconds: float) -> Iterator[list[BaseException]]:
    """Call `action` in a thread again and again; the list has what it raised."""
    ended, errors = threading.Event(), list[BaseException]()

    def loop() -> None:
        try:
            while not ended.wait(seconds):
                action()
        except BaseException as error:  # noqa: BLE001 - it is raised by the caller
            errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield errors
    finally:
        ended.set()
        thread.join()


def run(settings: Settings, folder: Path, seconds: float, seed: int) -> list[str]:
    """Everything that was not as promised."""
    feeder, client, chance = Feeder(seed), Client(folder), random.Random(seed + 1)
    with FeatureStore(settings=settings) as store:
        open_world(store, feeder.make(FIRST_ROWS))
        store.materialize()
        crowd = Crowd(settings, folder, seed)
        try:
            with _repeating(lambda: feeder.change(store), FEED_SECONDS) as feeding, _repeating(client.ask, 0.02) as asking:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    time.sleep(chance.uniform(*KILL_SECONDS))
                    crowd.kill_one()
            crowd.end()
        finally:
            crowd.kill_all()
        for error in (*feeding, *asking):
            raise error
        _print(folder, crowd, feeder, client)
        store.materialize()
        with FeatureStore(settings=Settings(home=folder / "fresh")) as fresh:
            open_world(fresh, feeder.rows())
            fresh.materialize()
            built = {note["made"]: note["digest"] for note in _notes(folder) if "made" in note}
            return [*client.wrong, *problems(store, fresh, feeder.rows(), built)]


def _print(folder: Path, crowd: Crowd, feeder: Feeder, client: Client) -> None:
    notes = list(_notes(folder))
    print("killed:", ", ".join(f"{count} {role}" for role, count in sorted(crowd.kills.items())))
    print(f"source: {feeder.appended} rows appended, {feeder.corrected} corrected, {feeder.deleted} deleted")
    print(
        "ended:",
        ", ".join(f"{count} {what}" for what, count in Counter(f"{n['end']} ({n['outcome']})" for n in notes if "end" in n).items()),
    )
    computed, committed = (Counter(note[what] for note in notes if what in note) for what in ("computing", "committed"))
    print(f"runs: {sum(computed.values())} computed, of which {sum(committed.values())} committed; others were killed or done again")
    print("answers of the server:", ", ".join(f"{count} {status}" for status, count in client.answers.items()))


def main() -> None:
    """Run it, and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--store", choices=list(STORES), default="sqlite", help="the catalog; sqlite")
    parser.add_argument("--seconds", type=float, default=120, help="how long; 120")
    parser.add_argument("--seed", type=int, default=7, help="for another course of events; 7")
    given = parser.parse_args()
    with TemporaryDirectory() as name, STORES[given.store](Path(name)) as settings:
        try:
            found = run(settings, Path(name), given.seconds, given.seed)
        except NotAsPromised as error:
            found = [str(error)]
            for log in Path(name).glob("*.log"):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}")
    for problem in found:
        print(f"NOT AS PROMISED: {problem}")
    print("as promised" if not found else f"{len(found)} problems")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
