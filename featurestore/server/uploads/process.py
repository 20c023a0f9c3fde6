"""The process that reads uploads: a fork for each file, with bounds of memory and time, which dies for it."""

import errno
import json
import os
import signal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from featurestore.server.forks import serve
from featurestore.server.jobs import memory
from featurestore.server.uploads.rows import MIB, Bounds, Refused, copy

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MALFORMED = "the spine's file is neither whole Parquet nor an Arrow IPC file or stream"


def main() -> None:
    """Be the process."""
    pa.set_memory_pool(pa.system_memory_pool())
    serve(work)


def work(message: bytes, descriptors: Sequence[int]) -> None:
    """Read one file: bounds, the file, the copy to write, and where to tell how it went."""
    bounds, (source, sink, report) = Bounds(**json.loads(message)), descriptors
    signal.setitimer(signal.ITIMER_REAL, bounds.seconds)
    bounds = bounds.of_file(source)
    memory.bound(memory.data(os.getpid()) + bounds.memory)
    outcome = read(source, sink, bounds)
    memory.unbound()
    os.write(report, json.dumps(outcome).encode())


def read(source: int, sink: int, bounds: Bounds) -> dict[str, Any]:
    """Copy the rows, and tell how it went: their number, or what is wrong and, in a library's own words, why."""
    try:
        return {"rows": copy(source, sink, bounds)}
    except Refused as error:
        return {"error": str(error)}
    except OSError as error:
        return {"full": True} if error.errno in FULL else {"error": MALFORMED, "reason": _words(error)}
    except Exception as error:  # noqa: BLE001 - whatever a forged file does to a library, its sender is told that it is one
        if memory.is_shortage(error):
            most = bounds.memory // MIB
            return {"error": f"reading the spine's file takes over {most} MiB of memory; write smaller row groups or batches"}
        return {"error": MALFORMED, "reason": _words(error)}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
