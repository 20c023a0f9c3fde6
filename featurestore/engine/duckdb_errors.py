"""Translate DuckDB's errors into ours: DuckDB's text goes to `details`, never into the message."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from featurestore.engine.watch import Watch
from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.masking import logger_of

logger = logger_of(__name__)

DISK = "the disk that queries spill to is full; free some space or set spill_directory"


@contextmanager
def translate_errors(watch: Watch | None = None, disk: str | None = None) -> Iterator[None]:
    """Translate DuckDB's errors in the block; DuckDB's text goes to the log and to `details`, never into the message.

    `disk` is the message for a full disk. Errors after `watch` was stopped become the error that it was stopped with.
    """
    try:
        yield
    except FeatureStoreError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if watch is not None and watch.error is not None:
            raise watch.error from error
        raise _store_error(error, disk or DISK) from error


def _store_error(error: Exception, disk: str) -> FeatureStoreError:
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or text.startswith("Out of Memory Error"):
        if "max_temp_directory_size" in text:
            return OutOfResources("a query needs more memory and disk than its limits allow; request less at once, or raise the limits")
        return OutOfResources("a query needs more memory than memory_limit allows; raise memory_limit or lower threads")
    if isinstance(error, duckdb.IOException) or text.startswith("IO Error"):
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
        if full or "No space left" in text or "max_temp_directory_size" in text:
            return OutOfResources(disk, resource="disk")
        return RequestError("a file cannot be read; check that it is complete and has the named format", reason=_first_line(error))
    if isinstance(error, duckdb.PermissionException) or text.startswith("Permission Error"):
        logger.debug("DuckDB refused access to files, settings or extensions", exc_info=error)
        return RequestError("the SQL uses files, settings or extensions, which a query may not", reason=_first_line(error))
    logger.debug("DuckDB refused a query", exc_info=error)
    return RequestError("the SQL fails on these data", reason=_first_line(error))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.partition(": ")[2] or text
