"""A training set over HTTP: what the server's own process holds at most while a spine comes, a job joins it, and the rows go out."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.join import DAYS, given_views
from benchmarks.servers import running
from featurestore import Settings, connect

LIMIT = "1GB"
TIMES = 20
"""The spine has so many times the rows of the view."""
FORMS = ("arrow", "parquet")


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """A spine uploaded in parts, joined with three features, and downloaded in either form. Returns the peaks in GB."""
    keys = max(rows // 20, 1)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, keys, DAYS, views=1)
        with running(_serve, home) as (url, pid), connect(url, timeout=600) as store:
            peaks: dict[str, float] = {}
            title = f"{TIMES * rows:,} rows over HTTP, memory_limit={LIMIT}; the web process"
            table = Table("", "seconds", "MB sent", "peak, GB", title=title, title_justify="left")

            def show(name: str, work: Callable[[], Any]) -> Any:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                began = time.monotonic()
                found = work()
                peaks[name] = _peak(pid)
                sent = f"{found / 1e6:,.0f}" if isinstance(found, int) else ""
                table.add_row(name, f"{time.monotonic() - began:.1f}", sent, f"{peaks[name]:.2f}")
                return found

            show("before", store.views)
            spine = pa.RecordBatchReader.from_batches(data.spine(1, keys, DAYS).schema, _spine(TIMES * rows, rows, keys))
            made = show("upload and build", partial(store.training_set, "few", spine, "asked_at", name="served"))
            for form in FORMS:
                show(f"download, {form}", partial(_downloaded, f"{url}/v1/training-sets/{made.id}/data?format={form}"))
        console.print(table)
        return peaks


def _spine(rows: int, step: int, keys: int) -> Iterator[pa.RecordBatch]:
    for number in range(rows // step):
        yield from data.spine(step, keys, DAYS, seed=number).to_batches(65_536)


def _downloaded(url: str) -> int:
    with httpx.stream("GET", url, timeout=600) as answer:
        answer.raise_for_status()
        return sum(len(chunk) for chunk in answer.iter_bytes())


def _serve(home: Path, announce: Callable[[str], None]) -> None:
    # Here and not above: what imports this module needs no web framework.
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home / "store", memory_limit=LIMIT, port=0), announce)


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e6
