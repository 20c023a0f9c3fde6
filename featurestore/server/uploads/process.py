"""The process that reads uploads: a fork with limited memory and time for each file, so that a malicious file crashes only its fork."""

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
MALFORMED = "it is neither whole Parquet nor an Arrow IPC file or stream"


def main() -> None:
    """Run the fork server."""
    pa.set_memory_pool(pa.system_memory_pool())
    serve(work)


def work(message: bytes, descriptors: Sequence[int]) -> None:
    """Read one file in a fork.

    `message` has the bounds as JSON; `descriptors` are the file, the copy to write, and a pipe for the outcome.
    """
    bounds, (source, sink, report) = Bounds(**json.loads(message)), descriptors
    signal.setitimer(signal.ITIMER_REAL, bounds.seconds)
    bounds = bounds.of_file(source)
    memory.limit_subprocess(memory.data_bytes(os.getpid()) + bounds.memory)
    outcome = read(source, sink, bounds)
    memory.lift_limit()
    os.write(report, json.dumps(outcome).encode())


def read(source: int, sink: int, bounds: Bounds) -> dict[str, Any]:
    """Copy the rows. Returns `rows`, their number; or `error`, with the library's error as `reason`; or `full` if the disk is full."""
    try:
        return {"rows": copy(source, sink, bounds)}
    except Refused as error:
        return {"error": str(error)}
    except OSError as error:
        return {"full": True} if error.errno in FULL else {"error": MALFORMED, "reason": _describe(error)}
    except Exception as error:  # noqa: BLE001 - a forged file may raise anything; its sender gets an error about the file
        if memory.is_shortage(error):
            limit = bounds.memory // MIB
            return {"error": f"to read it takes over {limit} MiB of memory; write smaller row groups or batches"}
        return {"error": MALFORMED, "reason": _describe(error)}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
