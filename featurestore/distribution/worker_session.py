"""A DuckDB session on a worker, which has neither the driver's settings nor its folders."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from featurestore.engine.duck import DuckEngine
from featurestore.engine.orphaned_spill import remove_orphaned_spill
from featurestore.engine.session import Session
from featurestore.errors import Conflict
from featurestore.values import byte_sizes

LEFT_AFTER = timedelta(days=1)
"""When the folder of a session that was not changed is one of a worker that was killed."""
SHARE = 0.8
"""The part of a machine's memory that queries of all its cores may use together, where no setting limits them."""


@dataclass(frozen=True)
class WorkerLimits:
    """The limits of a session on a worker: `memory` in bytes (None: a core's share of the machine), and its threads.

    `version` is the driver's engine; another one may compute other bits.
    """

    memory: int | None
    threads: int
    version: str

    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return self.memory or int(byte_sizes.machine_memory() * SHARE * self.threads / max(os.cpu_count() or 1, self.threads))

    def spill_path(self) -> Path:
        """The folder of the sessions' folders."""
        return Path(tempfile.gettempdir()) / f"featurestore-worker-{os.getuid()}"


@contextmanager
def worker_session(limits: WorkerLimits, folders: Iterable[str]) -> Iterator[Session]:
    """A session that may read and write files in these folders. Raises: Conflict if the worker has another engine than the driver."""
    engine = DuckEngine(limits)
    if engine.version != limits.version:
        raise Conflict(f"a worker has {engine.version}, and the driver {limits.version}: install the driver's packages on all workers")
    remove_orphaned_spill(limits.spill_path(), datetime.now(UTC) - LEFT_AFTER)
    with engine.session(folders) as session:
        yield session
