"""Ways to break an online store under load, and what clients may see until it has recovered."""

import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

from benchmarks.soak_load import Load
from benchmarks.soak_world import Publisher, data_bytes, wait_until
from featurestore import Settings

RECOVERY_SECONDS = 90.0
HOLD_SECONDS, MOST_HOLD_SECONDS = 4.0, 20.0
"""A fault lasts until a run has met it."""
CALM_SECONDS = 2.0
"""The store has recovered when no request failed for so long."""
NOT_READY, TIMEOUT, BUSY = "503 NotReady", "503 Timeout", "503 Busy"
RUN_ERRORS = frozenset({"NotReady", "CommitConflict", "OutOfResources"})


class Redis:
    """A Redis server of the benchmark's own that stores nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.start()

    @property
    def url(self) -> str:
        """Its address as a setting."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, empty. Raises: RuntimeError."""
        command = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        if not wait_until(self._answers, 30):
            raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        """Kill it; its rows are gone."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it without closing its connections."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Delete all keys."""
        with self._client() as client:
            client.flushall()

    def limit_memory(self, limited: bool) -> None:
        """Refuse writes for lack of memory, or no longer."""
        with self._client() as client:
            client.config_set("maxmemory", "1mb" if limited else "0")

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self._port)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@dataclass(frozen=True)
class Fault:
    """A way to break the store: what is done, what undoes it, and the errors that clients may see until it recovers."""

    name: str
    begin: Callable[[Publisher], None]
    end: Callable[[Publisher], None] = lambda publisher: None
    allowed: frozenset[str] = frozenset({NOT_READY})


def faults_of(settings: Settings, server: Redis | None) -> list[Fault]:
    """The faults of a store: those of its Redis, or of its LMDB folder."""
    if server is None:
        folder = Path(settings.online_url().removeprefix("lmdb://"))
        return [
            # LMDB uses free pages again: only a part of the file may be written, so that runs do fail.
            Fault("the disk is full", lambda run: run.limit_files(data_bytes(folder) // 3), lambda run: run.limit_files(None), frozenset()),
            Fault("the folder is deleted", lambda _: shutil.rmtree(folder)),
            Fault("the folder is deleted again", lambda _: shutil.rmtree(folder)),
        ]
    waiting = frozenset({NOT_READY, TIMEOUT, BUSY})
    return [
        Fault("Redis is out of memory", lambda _: server.limit_memory(True), lambda _: server.limit_memory(False), frozenset()),
        Fault("Redis is emptied", lambda _: server.empty()),
        Fault("Redis is killed, and restarted empty", lambda _: server.kill(), lambda _: server.start(), waiting),
        Fault("Redis is restarted empty at once", lambda _: server.restart(), allowed=waiting),
        Fault("Redis is paused", lambda _: server.pause(), lambda _: server.resume(), waiting),
    ]


def broken(fault: Fault, url: str, load: Load, publisher: Publisher) -> list[str]:
    """Break the store, wait until it has recovered, and print what clients saw. Returns what is not as promised."""
    seen = load.seen
    wrong, errors, answers = len(seen.wrong), Counter(seen.errors), sum(map(len, seen.seconds.values()))
    publisher.errors()
    began, run = time.monotonic(), publisher.begun
    fault.begin(publisher)
    time.sleep(HOLD_SECONDS)
    # The next run has ended when another one begins.
    wait_until(lambda: publisher.begun >= run + 2, MOST_HOLD_SECONDS)
    fault.end(publisher)
    ended, run = time.monotonic(), publisher.begun
    with httpx.Client(base_url=url, timeout=10) as client:

        def has_recovered() -> bool:
            calm = time.monotonic() - max(seen.failed_at, ended) > CALM_SECONDS and seen.answered_at > ended
            return calm and publisher.completed > run and client.get("/readyz").is_success

        recovered = wait_until(has_recovered, RECOVERY_SECONDS)
    run_errors = Counter(publisher.errors())
    new = Counter(seen.errors) - errors
    count = sum(map(len, seen.seconds.values())) - answers
    lasted = max(seen.failed_at - began, 0.0)
    print(
        f"{fault.name}: {count:,} right answers; errors {dict(new)} until {lasted:.1f} s after; runs that failed {dict(run_errors)}",
        flush=True,
    )
    problems = seen.wrong[wrong : wrong + 10]
    problems += [f"{count} x {error}" for error, count in new.items() if error not in fault.allowed]
    problems += [f"a run failed with {error}" for error in run_errors if error not in RUN_ERRORS]
    if not recovered:
        problems.append(f"it has not recovered {RECOVERY_SECONDS:.0f} s after")
    return [f"{fault.name}: {problem}" for problem in problems]
