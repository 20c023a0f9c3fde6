"""DuckDB's errors as ours: its own words go to `details`, never into the message."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.secrets import logger_of

log = logger_of(__name__)


@contextmanager
def translated(disk: str = "the disk that queries spill to is full; free some space or set spill_directory") -> Iterator[None]:
    """DuckDB's errors as ours; its own text goes to the log and to `details`, never into the message.

    `disk` is what a full disk means to the caller.
    """
    try:
        yield
    except FeatureStoreError:
        raise
    except duckdb.OutOfMemoryException as error:
        raise OutOfResources("a query needs more memory than memory_limit allows; raise memory_limit or lower threads") from error
    except duckdb.IOException as error:
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
        if full or "No space left" in str(error) or "max_temp_directory_size" in str(error):
            raise OutOfResources(disk, resource="disk") from error
        raise RequestError("a file cannot be read; check that it is whole and of the named format", reason=_first_line(error)) from error
    except duckdb.Error as error:
        log.debug("the engine refused a query", exc_info=True)
        raise RequestError("the SQL does not work on these data", reason=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.partition(": ")[2] or text
