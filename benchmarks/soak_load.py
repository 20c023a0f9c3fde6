"""The load of the soak: requests over many connections, and a check of every answer."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.soak_world import KEYS, MODEL, VIEWS, Publisher

TIMEOUT = 30.0
"""Seconds until an answer counts as missing."""
IDLE_SECONDS = 3.0
"""The server closes connections that are idle for five seconds: where this process was kept from sending, it opens another one."""
UNKNOWN_KEY = -1
_KINDS = {"lookup, 1 to 20 keys": 55, "lookup, 100 keys": 10, "derived, 1 to 20 keys": 25, "prediction": 10}
LOST = "connection lost"


@dataclass
class Seen:
    """What the clients saw: seconds by kind of request, errors by status and type, and wrong answers."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    answered_at: float = 0.0
    failed_at: float = 0.0


class Load:
    """Connections that each wait for their answer before they send the next request, at most `rate` requests a second in all."""

    def __init__(self, url: str, publisher: Publisher, connections: int, rate: float, model: bool) -> None:
        self._url, self._publisher = urlsplit(url), publisher
        self._connections, self._pause = connections, connections / rate
        self._kinds = {kind: weight for kind, weight in _KINDS.items() if model or kind != "prediction"}
        self._stopped = False
        self.seen = Seen()

    async def run(self) -> None:
        """Send requests until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            for seed in range(self._connections):
                tasks.create_task(self._keep_sending(random.Random(seed)))

    def stop(self) -> None:
        """End after the requests in flight."""
        self._stopped = True

    async def _keep_sending(self, chance: random.Random) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        used_at = 0.0
        while not self._stopped:
            began = time.perf_counter()
            if streams is not None and began - used_at > IDLE_SECONDS:
                await _close(streams[1])
                streams = None
            kind = chance.choices([*self._kinds], [*self._kinds.values()])[0]
            try:
                async with asyncio.timeout(TIMEOUT):
                    streams = streams or await asyncio.open_connection(self._url.hostname, self._url.port)
                    await self._ask(*streams, kind, chance)
                    used_at = time.perf_counter()
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self._count_error(LOST)
                if streams is not None:
                    await _close(streams[1])
                streams = None
            await asyncio.sleep(max(0.0, self._pause - (time.perf_counter() - began)))
        if streams is not None:
            await _close(streams[1])

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, chance: random.Random) -> None:
        count = 100 if "100" in kind else chance.randint(1, 20)
        keys = [chance.randrange(KEYS) if chance.random() < 0.95 else UNKNOWN_KEY for _ in range(count)]
        body: dict[str, Any]
        if kind == "prediction":
            path, body = f"/v1/models/{MODEL}/invocations", {"dataframe_records": [{"key": abs(key)} for key in keys]}
        elif kind.startswith("derived"):
            path, body = "/v1/services/derived/online", {"entities": [{"key": key} for key in keys], "request": [{"x": 0.5}] * count}
        else:
            path, body = "/v1/services/plain/online", {"entities": [{"key": key} for key in keys]}
        oldest, began = self._publisher.completed, time.perf_counter()
        status, content = await self._post(reader, writer, path, orjson.dumps(body))
        took, newest = time.perf_counter() - began, self._publisher.begun
        document = orjson.loads(content)
        if status != 200:
            self._count_error(f"{status} {document['error']['type']}")
            return
        self.seen.answered_at = time.monotonic()
        self.seen.seconds[kind].append(took)
        problem = _problem_of_prediction(document) if kind == "prediction" else _problem_of_lookup(document, keys)
        runs = _runs(document)
        if problem is None and not all(oldest <= run <= newest for run in runs):
            problem = f"runs {sorted(runs)}, where {oldest} was complete before and {newest} was the last to begin"
        if problem is not None:
            self.seen.wrong.append(f"{kind}: {problem}")
        if "features" in document:
            self.seen.versions.add(2 if "twice" in document["features"] else 1)

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> tuple[int, bytes]:
        head = f"POST {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        [length] = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        return int(lines[0].split()[1]), await reader.readexactly(length)

    def _count_error(self, error: str) -> None:
        self.seen.errors[error] += 1
        self.seen.failed_at = time.monotonic()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _runs(document: dict[str, Any]) -> set[int]:
    """The runs that an answer shows."""
    if "predictions" in document:
        return {round(value) for value in document["predictions"]}
    place = document["features"].index("run_a")
    return {row[place] for row in document["rows"] if row[place] is not None}


def _problem_of_prediction(document: dict[str, Any]) -> str | None:
    values = set(document["predictions"])
    return None if len({round(value, 6) for value in values}) == 1 else f"an answer mixes runs: predictions {sorted(values)}"


def _problem_of_lookup(document: dict[str, Any], keys: list[int]) -> str | None:
    """What is wrong with an answer: a known key without a row, an unknown one with one, or features of several runs."""
    names, runs = document["features"], _runs(document)
    if len(runs) > 1:
        return f"an answer mixes runs {sorted(runs)}"
    for states in document["status"].values():
        if states != ["NOT_FOUND" if key == UNKNOWN_KEY else "PRESENT" for key in keys]:
            return f"statuses {Counter(states)} for {keys.count(UNKNOWN_KEY)} unknown keys of {len(keys)}"
    for key, row in zip(keys, document["rows"], strict=True):
        values = dict(zip(names, row, strict=True))
        run = None if key == UNKNOWN_KEY else next(iter(runs))
        expected: dict[str, float | None] = {f"run_{name}": run for name in VIEWS}
        if "twice" in values:
            expected["twice"] = None if run is None else 2 * run
        if "shifted" in values:
            expected["shifted"] = None if run is None else 0.5
        if values != expected:
            return f"the row of key {key} is {values} instead of {expected}"
    return None
