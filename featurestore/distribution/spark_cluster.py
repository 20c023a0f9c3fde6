"""Spark as distributor: pieces are rows of a shuffle by bucket, with their bytes in one column, and workers run Python."""

import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Running
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from featurestore.distribution import on_worker
from featurestore.distribution.on_worker import Parcel, pack
from featurestore.distribution.work import Piece, Work
from featurestore.errors import MissingExtra, NotReady, OutOfResources
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets

logger = logger_of(__name__)

try:
    from pyspark import StorageLevel
    from pyspark.errors import PySparkException
    from pyspark.sql import DataFrame, SparkSession
except ImportError as missing:
    raise MissingExtra("pyspark", "spark", "the setting engine") from missing

LOCAL, CONNECT = "spark", "sc://"
PIECES = "bucket int, kind string, data binary"
RESULTS = "bucket int, result binary"
OPTIONS = {
    # A row is a whole piece: a few of them are a batch.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "16",
    "spark.sql.session.timeZone": "UTC",
}
"""Options of the session; they can be set on a server as well."""
PROCESS_OPTIONS = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.maxResultSize": "0"}
"""Options of a driver that is started here."""
PYTHON = "PYSPARK_PYTHON"
"""The variable with the Python of the executors; by default the path of the driver's."""
WAVES = 8
"""Results are collected in about so many waves, after each of which they are recorded."""
WAVE_BUCKETS = 32
"""A wave has at least so many buckets."""
POLL_SECONDS = 1


class SparkCluster:
    """Workers of a Spark session: of this process, of a standalone master, or of a Spark Connect server."""

    def __init__(self, address: str) -> None:
        """`address` is LOCAL, spark://host:port, or sc://host:port. Raises: NotReady."""
        self.address = without_secrets(address)
        builder = SparkSession.builder.appName("featurestore")
        # A session of a notebook is used, and stays; options of this one are its own.
        existing = None if address.startswith(CONNECT) else SparkSession.getActiveSession()
        self._own = existing is None
        try:
            if existing is not None:
                self._session = existing.newSession()
            elif address.startswith(CONNECT):
                self._session = builder.remote(address).getOrCreate()
            else:
                os.environ.setdefault(PYTHON, sys.executable)
                builder = builder.master("local[*]" if address == LOCAL else address)
                for name, value in {**OPTIONS, **PROCESS_OPTIONS}.items():
                    builder = builder.config(name, value)
                self._session = builder.getOrCreate()
            for name, value in OPTIONS.items():
                self._session.conf.set(name, value)
        except (PySparkException, RuntimeError, OSError) as error:
            raise NotReady(
                f"{self.address} cannot be reached, or Java 17 is missing; start it, or correct the setting engine", reason=str(error)[:500]
            ) from error

    def run(self, work: Work, parts: Sequence[Any], buckets: int, check: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """See Distributor."""
        if not parts:
            return
        logger.info("%s reads %d parts, and computes %d buckets", self.address, len(parts), buckets)
        held, tag = pack(work), f"featurestore-{uuid.uuid4().hex}"
        shuffled = self._shuffle(held, parts, buckets).persist(StorageLevel.DISK_ONLY)
        size = max(WAVE_BUCKETS, -(-buckets // WAVES))
        # A thread of its own: tags are of a thread, and this one watches over it.
        with ThreadPoolExecutor(1, "spark") as thread:
            thread.submit(self._session.addTag, tag).result()
            try:
                for first in range(0, buckets, size):
                    wave = shuffled.filter(f"bucket >= {first} AND bucket < {first + size}")
                    results = _in_arrow(wave, partial(_compute, held), RESULTS)
                    for row in self._wait(thread.submit(results.collect), tag, check):
                        yield row.bucket, on_worker.raise_failed(Parcel(bytes(row.result)).open())
            finally:
                thread.submit(shuffled.unpersist)

    def close(self) -> None:
        """See Distributor."""
        if self._own:
            self._session.stop()

    def _shuffle(self, held: Parcel, parts: Sequence[Any], buckets: int) -> DataFrame:
        rows = [(number, pack(part).data) for number, part in enumerate(parts)]
        # One part, and later one bucket, a task; this partitioning is not changed by adaptive execution.
        read = self._session.createDataFrame(rows, "number int, part binary").repartitionById(len(parts), "number")
        return _in_arrow(read, partial(_spread, held, buckets), PIECES).repartitionById(buckets, "bucket")

    def _wait(self, running: "Future[list[Any]]", tag: str, check: Callable[[], None]) -> list[Any]:
        while True:
            try:
                check()
                return running.result(timeout=POLL_SECONDS)
            except Running:
                continue
            except PySparkException as error:
                raise OutOfResources(
                    f"{self.address} gave up the work of this run, as it does when workers die again and again; nothing was written. Look"
                    " into its log; where memory ran out, set memory_limit, or make chunk_rows smaller",
                    resource="workers",
                    reason=str(error)[:500],
                ) from error
            except BaseException:
                self._session.interruptTag(tag)
                raise


def _in_arrow(rows: DataFrame, function: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]], columns: str) -> DataFrame:
    with warnings.catch_warnings():
        # Spark warns of new releases of pandas, which it wants here and does not use.
        warnings.filterwarnings("ignore", category=FutureWarning, message="PySpark does not yet fully support pandas")
        return rows.mapInArrow(function, columns)


def _spread(work: Parcel, buckets: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for part in batch.column("part"):
            for piece in on_worker.spread(work.open(), Parcel(part.as_py()).open(), buckets):
                columns = [pa.array([piece.bucket], pa.int32()), pa.array([piece.kind]), pa.array([piece.data], pa.binary())]
                yield pa.RecordBatch.from_arrays(columns, ["bucket", "kind", "data"])


def _compute(work: Parcel, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for bucket, pieces in groupby(_pieces(batches), key=lambda piece: piece.bucket):
        result = pack(on_worker.compute(work.open(), bucket, pieces)).data
        yield pa.RecordBatch.from_arrays([pa.array([bucket], pa.int32()), pa.array([result], pa.binary())], ["bucket", "result"])


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[Piece]:
    for batch in batches:
        for bucket, kind, data in zip(*(batch.column(name) for name in ("bucket", "kind", "data")), strict=True):
            yield Piece(bucket.as_py(), kind.as_py(), data.as_py())
