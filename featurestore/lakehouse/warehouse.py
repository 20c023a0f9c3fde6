"""The place where tables' files lie, looked at by itself: a catalog may answer while nothing can be read or written."""

import uuid

import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO

from featurestore.errors import NotReady
from featurestore.lakehouse import folders
from featurestore.lakehouse.local_io import LocalFirstIO
from featurestore.lakehouse.reaching import UNREACHABLE, reaching, told
from featurestore.redaction import without_secrets

PROBE = ".featurestore-probe-"


def look(catalog: Catalog, table: str, *, write: bool) -> str | None:
    """Look whether files can be had, and with `write` also put there and taken away; returns the place.

    The place is that of this table, else the catalog's own; None where a catalog server keeps it to itself and there is no table yet.
    Raises: NotReady saying what cannot be done there.
    """
    found = _place(catalog, table)
    if found is None:
        return None
    io, location = found
    shown = without_secrets(location)
    with reaching(f"looking at the warehouse {shown}"):
        try:
            _refuse_missing(io, location, shown)
        except pa.ArrowInvalid as error:
            # Not with what Arrow says, which quotes the address whole.
            raise NotReady(f"the warehouse {shown} is no address that files can be had from; correct the setting warehouse") from error
    if write:
        probe = f"{location.rstrip('/')}/{PROBE}{uuid.uuid4().hex}"
        try:
            with io.new_output(probe).create() as sink:
                sink.write(b"probe")
            io.delete(probe)
        except UNREACHABLE as error:
            why = told(error, f"writing to the warehouse {shown} and deleting there")
            raise type(why)(f"{why.message}; let this user read, write and delete there", **why.details) from error
    return shown


def _place(catalog: Catalog, table: str) -> tuple[FileIO, str] | None:
    try:
        held = catalog.load_table(table)
    except NoSuchTableError:
        location = str(catalog.properties.get("warehouse") or "")
        return (LocalFirstIO(dict(catalog.properties)), location) if location.startswith("/") or "://" in location else None
    return held.io, held.location()


def _refuse_missing(io: FileIO, location: str, shown: str) -> None:
    filesystem, path = folders.filesystem(io, location)
    # A folder of an object store comes to be with the first object in it; the bucket must be there.
    wanted = path if isinstance(filesystem, pafs.LocalFileSystem) else path.strip("/").partition("/")[0]
    if filesystem.get_file_info(wanted).type == pafs.FileType.NotFound:
        raise NotReady(f"the warehouse {shown} is not there: no {wanted}; make it, or correct the setting warehouse")
