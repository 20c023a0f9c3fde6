"""The process that reads uploads: it waits, and forks for each file a process with bounds of memory and time, which dies for it."""

import errno
import json
import os
import signal
import socket
from typing import Any

import pyarrow as pa

from featurestore.server.jobs import memory
from featurestore.server.uploads.rows import MIB, Bounds, Refused, copy

STDIN, STDERR = 0, 2
MESSAGE_BYTES = 4096
DESCRIPTORS = 3
"""The file, the copy to write, and where to tell how it went."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MALFORMED = "the spine's file is neither whole Parquet nor an Arrow IPC file or stream"


def main() -> None:
    """Be the process: requests come over the socket on standard input, and the end with the end of that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody waits for the processes that are forked: how they went is told by themselves, or by their silence.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pa.set_memory_pool(pa.system_memory_pool())
    requests = socket.socket(fileno=STDIN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _fork(Bounds(**json.loads(message)), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(b".")


def _fork(bounds: Bounds, source: int, sink: int, report: int) -> None:
    """Be the process of one file. Never returns."""
    try:
        signal.setitimer(signal.ITIMER_REAL, bounds.seconds)
        # What a library says as it aborts is not the server's to log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
        bounds = bounds.of_file(source)
        memory.bound(memory.data(os.getpid()) + bounds.memory)
        outcome = read(source, sink, bounds)
        memory.unbound()
        os.write(report, json.dumps(outcome).encode())
    finally:
        os._exit(0)


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
