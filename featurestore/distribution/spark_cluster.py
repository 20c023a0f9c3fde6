"""Spark as distributor: pieces are rows of a shuffle by bucket, with their bytes in one column, and workers run Python."""

import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Running
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, cast

import pyarrow as pa

from featurestore.distribution import on_worker
from featurestore.distribution.on_worker import Parcel, pack
from featurestore.distribution.work import Piece, Work
from featurestore.errors import MissingExtra, NotReady, OutOfResources
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets

logger = logger_of(__name__)

try:
    from py4j.protocol import Py4JError, Py4JJavaError
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
CONNECT_RETRIES = 6
"""How often a call of a Spark Connect server that cannot be reached is sent again: over a minute. By default, it would be ten."""
LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""The statuses of calls of a Spark Connect server that is gone."""
OTHER_SESSION = "INVALID_HANDLE"
"""The class of errors of a Spark Connect server that does not know the session, since it was started again."""
FAILURES = (PySparkException, Py4JError)
"""What Spark raises; the second, where it knows no class of Python for an error of Java, and where Java has ended."""


class SparkCluster:
    """Workers of a Spark session: of this process, of a standalone master, or of a Spark Connect server."""

    def __init__(self, address: str) -> None:
        """`address` is LOCAL, spark://host:port, or sc://host:port. Raises: NotReady."""
        self.address = without_secrets(address)
        # A session of a notebook is used, and stays; options of this one are its own.
        existing = None if address.startswith(CONNECT) else SparkSession.getActiveSession()
        self._own = existing is None
        try:
            if existing is not None:
                self._session = existing.newSession()
            else:
                self._session = _connect(address) if address.startswith(CONNECT) else _start(address)
            for name, value in OPTIONS.items():
                self._session.conf.set(name, value)
        except (*FAILURES, RuntimeError, OSError) as error:
            raise NotReady(
                f"{self.address} cannot be reached, or Java 17 is missing; start it, or correct the setting engine", reason=str(error)[:500]
            ) from error

    def run(self, work: Work, parts: Sequence[Any], buckets: int, check: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """See Distributor."""
        if not parts:
            return
        logger.info("%s reads %d parts, and computes %d buckets", self.address, len(parts), buckets)
        with self._failures():
            yield from self._compute(pack(work), parts, buckets, check)

    def _compute(self, held: Parcel, parts: Sequence[Any], buckets: int, check: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        tag = f"featurestore-{uuid.uuid4().hex}"
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
            except FAILURES:
                raise
            except BaseException:
                self._session.interruptTag(tag)
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raises: NotReady if Spark itself is gone, OutOfResources if it gave up."""
        try:
            yield
        except FAILURES as error:
            reason = str(error)[:500]
            if _is_lost(error):
                raise NotReady(
                    f"{self.address} was lost while it computed; nothing was written. Start it again, and then this", reason=reason
                ) from error
            raise OutOfResources(
                f"{self.address} gave up the work of this run, as it does when workers die again and again; nothing was written. Look"
                " into its log; where memory ran out, set memory_limit, or make chunk_rows smaller",
                resource="workers",
                reason=reason,
            ) from error


def _start(address: str) -> SparkSession:
    """A session with a driver in this process."""
    os.environ.setdefault(PYTHON, sys.executable)
    builder = SparkSession.builder.appName("featurestore").master("local[*]" if address == LOCAL else address)
    for name, value in {**OPTIONS, **PROCESS_OPTIONS}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _connect(address: str) -> SparkSession:
    """A session of a Spark Connect server, which other sessions of this process are none of."""
    # Imported here: installations without it compute on other masters.
    from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415

    # No option is given: the server would be called before it is known how often.
    session: Any = SparkSession.builder.remote(address).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=CONNECT_RETRIES)])
    try:
        session.conf.set(*next(iter(OPTIONS.items())))
    except FAILURES:
        # There is nothing to release, neither now nor at the exit of the process.
        session.release_session_on_close = False
        session.stop()
        raise
    return cast(SparkSession, session)


def _is_lost(error: "PySparkException | Py4JError") -> bool:
    """Whether Java, or the server, is gone, and not the work."""
    if isinstance(error, Py4JError):
        return not isinstance(error, Py4JJavaError)
    status = getattr(error, "getGrpcStatusCode", None)
    return status is not None and (status().name in LOST or (error.getCondition() or "").startswith(OTHER_SESSION))


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
