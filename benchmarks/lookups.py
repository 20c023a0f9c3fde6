"""Online lookups against hand-written ones: a FastAPI application over an LMDB file of JSON rows, and that file read in this process."""

import random
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import lmdb
import orjson
from rich.console import Console

from benchmarks.join import DAYS, FEATURES, given_views
from benchmarks.servers import running
from benchmarks.timing import in_turns, show
from featurestore import FeatureStore, Settings

CALLS = 400
"""Lookups in one round, one after the other."""
KEYS = (1, 100)
PLACES = {"featurestore": "/v1/services/few/online", "hand-written": "/lookup"}

Lookup = Callable[[Sequence[Mapping[str, Any]]], object]


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Three features of one key and of a hundred, `CALLS` lookups a round: in this process, and over HTTP by one client."""
    keys = max(rows // 20, *KEYS)
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, keys, DAYS, views=1)
        with FeatureStore(home=home / "store") as store:
            write_by_hand(store, home / "by-hand", keys)
            with lmdb.open(str(home / "by-hand"), readonly=True) as file:
                here: dict[str, Lookup] = {"hand-written": partial(by_hand, file), "featurestore": partial(store.online_features, "few")}
                ratios |= _compared(console, "in this process", here, keys, rounds)
        with running(_serve, home) as served, running(_serve_by_hand, home) as other, httpx.Client(timeout=60) as client:
            there: dict[str, Lookup] = {
                "hand-written": partial(_post, client, other.url + PLACES["hand-written"]),
                "featurestore": partial(_post, client, served.url + PLACES["featurestore"]),
            }
            ratios |= _compared(console, "over HTTP", there, keys, rounds)
    return ratios


def write_by_hand(store: FeatureStore, path: Path, keys: int) -> None:
    """The rows that the service answers with, as JSON by key."""
    with lmdb.open(str(path), map_size=1 << 30) as file, file.begin(write=True) as transaction:
        for low in range(0, keys, 1000):
            wanted = [{"key": key} for key in range(low, min(low + 1000, keys))]
            for entity, row in zip(wanted, store.online_features("few", wanted).rows, strict=True):
                transaction.put(str(entity["key"]).encode(), orjson.dumps(row))


def by_hand(file: lmdb.Environment, entities: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The rows of these keys, None for a key that is not there."""
    with file.begin() as transaction:
        found = [transaction.get(str(entity["key"]).encode()) for entity in entities]
    return [None if row is None else orjson.loads(row) for row in found]


def _compared(console: Console, where: str, lookups: Mapping[str, Lookup], keys: int, rounds: int) -> dict[str, float]:
    ratios: dict[str, float] = {}
    for count in KEYS:
        taken = in_turns([(name, partial(_calls, look, count, keys)) for name, look in lookups.items()], rounds)
        title = f"{CALLS} lookups of {count} keys of {keys:,}, 3 of {FEATURES} features, {where}"
        ratios |= {f"{name}, {count}, {where}": ratio for name, ratio in show(console, title, taken, "hand-written").items()}
    return ratios


def _calls(look: Lookup, count: int, keys: int) -> None:
    chance = random.Random(count)
    for _ in range(CALLS):
        look([{"key": chance.randrange(keys)} for _ in range(count)])


def _post(client: httpx.Client, url: str, entities: Sequence[Mapping[str, Any]]) -> Any:
    return orjson.loads(client.post(url, json={"entities": entities}).raise_for_status().content)


# What imports this module needs no web framework.


def _serve(home: Path, announce: Callable[[str], None]) -> None:
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home / "store", port=0), announce)


def _serve_by_hand(home: Path, announce: Callable[[str], None]) -> None:
    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415
    from pydantic import create_model  # noqa: PLC0415

    app = FastAPI()
    file = lmdb.open(str(home / "by-hand"), readonly=True)
    body = create_model("Body", entities=list[dict[str, int]])

    @app.post("/lookup")
    def lookup(asked: body) -> dict[str, Any]:  # type: ignore[valid-type]
        return {"rows": by_hand(file, asked.entities)}  # type: ignore[attr-defined]

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        announce(f"http://127.0.0.1:{listening.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
