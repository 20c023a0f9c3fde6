"""`python -m benchmarks.soak [--seconds N] [--online lmdb|redis] [--faults]`: a server under mixed load while everything changes.

Lookups, derived features and predictions come over many connections; a run is published every few seconds, and midway a view and its
services get a new version. Every answer is checked: it must be of one run, and of none that is older than the last complete one. Prints
latencies and the memory of the server. With `--faults`, the online store is broken in several ways instead, one after the other, and
errors of the promised kinds are allowed until it has recovered by itself. Exits with status 1 if anything is not as promised.
"""

import argparse
import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.servers import Running, running
from benchmarks.soak_faults import Redis, broken, faults_of
from benchmarks.soak_load import Load
from benchmarks.soak_world import Publisher, open_world
from featurestore import Settings

CONNECTIONS = 16
RATE = 300.0
"""Requests a second over all connections."""
PUBLISH_SECONDS = 3.0
MEMORY_SECONDS = 1.0
WARM_UP = 0.2
"""Fraction of the time after which memory must be flat."""
GROWTH_MIB = 24.0
"""Most growth of the server's memory after the warm-up, between the medians of the first and the last fifth."""
LONG_SECONDS = 120.0
"""Shorter soaks do not judge memory: caches still fill."""


def main() -> None:
    """Soak, print what was seen, and exit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long; 600")
    parser.add_argument("--online", choices=["lmdb", "redis"], default="lmdb", help="the online store; lmdb")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second; {RATE:.0f}")
    parser.add_argument("--no-model", action="store_true", help="without predictions")
    parser.add_argument("--faults", action="store_true", help="break the online store instead of waiting")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, _store(given.online, Path(folder)) as (settings, redis):
        open_world(settings, model=not given.no_model)
        publisher = Publisher(settings, min(PUBLISH_SECONDS, given.seconds / 4))
        try:
            with running(_serve, settings.to_json_with_secrets()) as server:
                load = Load(server.url, publisher, CONNECTIONS, given.rate, not given.no_model)
                with _sending(load):
                    if given.faults:
                        problems = [
                            problem for fault in faults_of(settings, redis) for problem in broken(fault, server.url, load, publisher)
                        ]
                    else:
                        problems = soak(server, load, publisher, given.seconds)
        finally:
            publisher.close()
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    sys.exit(bool(problems))


def soak(server: Running, load: Load, publisher: Publisher, seconds: float) -> list[str]:
    """Watch for so many seconds, and print what was seen. Returns what is not as promised."""
    began, memory = time.monotonic(), list[tuple[float, float]]()
    while (now := time.monotonic() - began) < seconds or publisher.completed < 3 or 2 not in load.seen.versions:
        if now > seconds / 2:
            publisher.apply_second_version()
        if now > seconds + 60 or not publisher.alive:
            break
        memory.append((now, _resident_mib(server.pid)))
        time.sleep(min(MEMORY_SECONDS, seconds / 50))
    load.stop()
    seen, growth = load.seen, _growth(memory)
    for kind, taken in sorted(seen.seconds.items()):
        p50, p99 = (statistics.quantiles(taken, n=100)[index] * 1e3 for index in (49, 98))
        print(f"{kind}: {len(taken):,} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(taken) * 1e3:.0f} ms")
    print(f"{publisher.completed} runs; services seen in versions {sorted(seen.versions)}")
    print(f"memory of the web process: {memory[-1][1]:.0f} MiB; {growth:+.1f} MiB after the warm-up, {_slope(memory):+.2f} MiB a minute")
    problems = [*seen.wrong[:10], *(f"{count} x {error}" for error, count in seen.errors.items())]
    problems += [f"a run failed: {error}" for error in publisher.errors()]
    if seen.versions != {1, 2}:
        problems.append("answers of both versions of the services were expected")
    if seconds >= LONG_SECONDS and growth > GROWTH_MIB:
        problems.append(f"memory grew by {growth:.0f} MiB")
    return problems


def _steady(memory: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(at, mib) for at, mib in memory if at >= WARM_UP * memory[-1][0]]


def _growth(memory: list[tuple[float, float]]) -> float:
    steady = [mib for _, mib in _steady(memory)]
    fifth = max(len(steady) // 5, 1)
    return statistics.median(steady[-fifth:]) - statistics.median(steady[:fifth])


def _slope(memory: list[tuple[float, float]]) -> float:
    """The slope of the regression line after the warm-up, in MiB a minute."""
    steady = _steady(memory)
    return 0.0 if len(steady) < 2 else statistics.linear_regression(*zip(*steady, strict=True)).slope * 60


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


@contextmanager
def _sending(load: Load) -> Iterator[None]:
    """Send the load in a thread until the end of the block. Raises: what the thread raised."""
    failures = list[BaseException]()

    def send() -> None:
        try:
            asyncio.run(load.run())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        load.stop()
        thread.join()
    for failure in failures:
        raise failure


@contextmanager
def _store(online: str, folder: Path) -> Iterator[tuple[Settings, Redis | None]]:
    """Settings for a new store, and its Redis if it uses one."""
    if online == "lmdb":
        yield Settings(home=folder / "store", port=0), None
        return
    redis = Redis(folder)
    try:
        yield Settings(home=folder / "store", port=0, online=redis.url), redis
    finally:
        redis.kill()


def _serve(settings: str, announce: Callable[[str], None]) -> None:
    from featurestore.server.run import run_server  # noqa: PLC0415 - only the server needs the web framework

    parsed = Settings.model_validate_json(settings)
    # Its log has a line for each refused request.
    os.dup2(os.open(parsed.home_path() / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    run_server(parsed, announce)


if __name__ == "__main__":
    main()
