"""Check that the warehouse can be read and written: the catalog may respond while its files cannot be reached."""

import uuid

import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO

from featurestore.errors import NotReady
from featurestore.lakehouse import folders
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.local_io import LocalFirstIO
from featurestore.redaction import without_secrets

PROBE = ".featurestore-probe-"


def check_warehouse(catalog: Catalog, table: str, *, write: bool) -> str | None:
    """Check that files can be read, and with `write` also written and deleted; returns the location that was checked.

    It is the location of this table, or else the catalog's warehouse; None if a catalog server does not disclose it and there is no
    table yet. Raises: NotReady saying which access failed.
    """
    place = _location(catalog, table)
    if place is None:
        return None
    io, location = place
    shown = without_secrets(location)
    with translating_errors(f"looking at the warehouse {shown}"):
        try:
            _refuse_missing(io, location, shown)
        except pa.ArrowInvalid as error:
            # Without Arrow's message, which quotes the whole URI, credentials included.
            raise NotReady(f"the warehouse {shown} is not a valid location; correct the setting warehouse") from error
    if write:
        probe = f"{location.rstrip('/')}/{PROBE}{uuid.uuid4().hex}"
        try:
            with io.new_output(probe).create() as sink:
                sink.write(b"probe")
            io.delete(probe)
        except UNREACHABLE as error:
            failure = to_store_error(error, f"writing to the warehouse {shown} and deleting there")
            raise type(failure)(f"{failure.message}; grant this user read, write and delete access", **failure.details) from error
    return shown


def _location(catalog: Catalog, table: str) -> tuple[FileIO, str] | None:
    try:
        stored = catalog.load_table(table)
    except NoSuchTableError:
        location = str(catalog.properties.get("warehouse") or "")
        return (LocalFirstIO(dict(catalog.properties)), location) if location.startswith("/") or "://" in location else None
    return stored.io, stored.location()


def _refuse_missing(io: FileIO, location: str, shown: str) -> None:
    filesystem, path = folders.filesystem(io, location)
    if isinstance(filesystem, pafs.LocalFileSystem) and filesystem.get_file_info(path).type == pafs.FileType.NotFound:
        raise NotReady(f"the warehouse {shown} does not exist: no {path}; create it, or correct the setting warehouse")
    folders.refuse_missing_bucket(filesystem, path, shown)
