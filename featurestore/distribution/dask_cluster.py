"""Dask as distributor: pieces stay in the workers' memory, which spills to disk, and are made again if a worker is lost."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from featurestore.distribution import on_worker
from featurestore.distribution.on_worker import Parcel, pack
from featurestore.distribution.work import Piece, Work
from featurestore.errors import MissingExtra, NotReady, OutOfResources
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets

logger = logger_of(__name__)

try:
    from distributed import Client, Future, KilledWorker, LocalCluster
except ImportError as missing:
    raise MissingExtra("distributed", "dask", "the setting engine") from missing

LOCAL = "dask://local"
"""Workers on this machine, one for each core, which end with the process."""
CONNECT_SECONDS = 30
IDLE_SECONDS = 120
"""For how long a run waits while the cluster has no worker."""
POLL_SECONDS = 1
RETRIES = 2
"""How often a task is run again that failed for a reason of its machine."""


class DaskCluster:
    """Workers of a Dask scheduler."""

    def __init__(self, address: str) -> None:
        """`address` is LOCAL or that of a scheduler, dask://host:port. Raises: NotReady."""
        self.address = without_secrets(address)
        self._cluster = LocalCluster(threads_per_worker=1, dashboard_address="127.0.0.1:0") if address == LOCAL else None
        try:
            self._client = Client(
                self._cluster or f"tcp://{address.partition('://')[2]}",
                timeout=CONNECT_SECONDS,
                set_as_default=False,
                heartbeat_interval=5000,
            )
        except (OSError, TimeoutError) as error:
            raise NotReady(f"the Dask scheduler {self.address} cannot be reached; start it, or correct the setting engine") from error

    def run(self, work: Work, parts: Sequence[Any], buckets: int, check: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """See Distributor."""
        logger.info("%s reads %d parts, and computes %d buckets", self.address, len(parts), buckets)
        finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        # One copy for all tasks; the task that holds it can be run again, where scattered data would be lost with its worker.
        held = self._submit(_hold, pack(work))
        spread = [self._submit(_spread, held, pack(part), buckets) for part in parts]
        pending: dict[Any, int] = {}
        futures: list[Future[Any]] = []
        idle_since: float | None = None
        for bucket in range(buckets):
            future = self._submit(_compute, held, bucket, [self._submit(_pieces_of, pieces, bucket) for pieces in spread])
            pending[future.key] = bucket
            futures.append(future)
            future.add_done_callback(finished.put)
        del spread
        try:
            while pending:
                check()
                try:
                    future = finished.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    idle_since = self._idle_since(idle_since)
                    continue
                result = on_worker.raise_failed(self._result(future))
                bucket = pending.pop(future.key)
                if result is not None:
                    yield bucket, result[0]
        finally:
            self._client.cancel(futures)

    def close(self) -> None:
        """See Distributor."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        return self._client.submit(function, *arguments, pure=False, retries=RETRIES)

    def _result(self, future: "Future[Any]") -> Any:
        if future.cancelled():
            raise NotReady(f"the Dask scheduler {self.address} has lost the work of this run; start it again")
        try:
            return future.result()
        except KilledWorker as error:
            raise OutOfResources(
                f"workers of {self.address} died again and again at the same bucket, as they do when memory runs out; nothing was written."
                " Give them more memory, set memory_limit, or make chunk_rows smaller",
                resource="memory",
            ) from error

    def _idle_since(self, before: float | None) -> float | None:
        """Since when the cluster has had no workers; None if it has some. Raises: NotReady after IDLE_SECONDS."""
        if self._client.status == "running" and self._client.scheduler_info(n_workers=-1)["workers"]:
            return None
        since = time.monotonic() if before is None else before
        if time.monotonic() - since > IDLE_SECONDS:
            raise NotReady(f"{self.address} has had no worker for {IDLE_SECONDS} seconds; start some with: dask worker HOST:PORT")
        return since


def _hold(work: Parcel) -> Parcel:
    return work


def _spread(work: Parcel, part: Parcel, buckets: int) -> dict[int, list[tuple[str, bytes]]]:
    # Plain containers: Dask measures these, to know when to spill.
    pieces: dict[int, list[tuple[str, bytes]]] = {}
    for piece in on_worker.spread(work.open(), part.open(), buckets):
        pieces.setdefault(piece.bucket, []).append((piece.kind, piece.data))
    return pieces


def _pieces_of(pieces: dict[int, list[tuple[str, bytes]]], bucket: int) -> list[tuple[str, bytes]]:
    return pieces.get(bucket, [])


def _compute(work: Parcel, bucket: int, parts: list[list[tuple[str, bytes]]]) -> Any:
    """The result in a list, or a FeatureStoreError; None without pieces."""
    if not any(parts):
        return None
    result = on_worker.compute(work.open(), bucket, (Piece(bucket, kind, data) for part in parts for kind, data in part))
    return result if isinstance(result, Exception) else [result]
