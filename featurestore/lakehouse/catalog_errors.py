"""Translate the errors of catalogs and warehouses that are unreachable or refuse a request into ours, which say what to do."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

from pydantic import ValidationError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    CommitStateUnknownException,
    ForbiddenError,
    OAuthError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.typedef import Identifier
from sqlalchemy.exc import SQLAlchemyError

from featurestore.errors import FeatureStoreError, NotReady, OutOfResources
from featurestore.lakehouse.newest_states import NewestStates, SeenState, refuse_older
from featurestore.lakehouse.object_errors import ObjectError

UNREACHABLE = (SQLAlchemyError, OSError, RESTError, ValidationError, NotImplementedError)
"""What is raised when a catalog or warehouse cannot be reached (network and HTTP errors are OSErrors; a malformed response raises
ValidationError; what a server does not support raises NotImplementedError)."""

NO_BUCKET = "NO_SUCH_BUCKET"
"""What pyarrow says of a bucket that does not exist."""

_STORAGE = (
    ((NO_BUCKET, "NoSuchBucket"), "the bucket of the warehouse does not exist", "create or restore it, or correct the setting warehouse"),
    (
        ("ExpiredToken", "TokenRefreshRequired"),
        "the credentials for the warehouse have expired",
        "run the same again; if it fails again, put new ones in the setting catalog, or let the catalog hand out longer ones",
    ),
    (
        (
            *("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID"),
            *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidToken"),
        ),
        "the warehouse does not accept these credentials",
        "check those in the setting catalog, or in the environment, or what the catalog hands out, and what they may read and write",
    ),
    (
        ("SLOW_DOWN", "SlowDown", "ServiceUnavailable", "InternalError", "SERVICE_UNAVAILABLE", "INTERNAL_FAILURE"),
        "the object store of the warehouse refused requests, also when they were sent again",
        "run the same again later; if it fails again, ask who runs it for a higher limit",
    ),
)
"""What pyarrow or S3 says of a warehouse that answers, with what it means and what to do."""

_CATALOG_CALLS = (
    "load_table",
    "table_exists",
    "list_tables",
    "list_namespaces",
    "namespace_exists",
    "load_namespace_properties",
    "create_namespace",
    "create_table",
    "register_table",
    "rename_table",
    "drop_table",
    "purge_table",
)
"""The catalog's methods except commits, whose failures are handled in `commits`."""

_REASON_LENGTH = 300
"""How many characters of a server's response are shown: it may be a whole page."""


def to_store_error(error: Exception, action: str) -> FeatureStoreError:
    """Translate one of `UNREACHABLE` into a FeatureStoreError; `action` is what failed, such as `loading features.f`."""
    if isinstance(error, FeatureStoreError):
        return error
    reason = _reason(error)
    if is_disk_full(error):
        return OutOfResources(f"{action}: no space left; free some, then run the same again", reason=reason, resource="disk")
    if isinstance(error, OSError) and (storage := next((row for row in _STORAGE if any(word in str(error) for word in row[0])), None)):
        return NotReady(f"{action}: {storage[1]}{_about(error)}; {storage[2]}", reason=reason)
    if isinstance(error, ObjectError) and not isinstance(error, FileNotFoundError):
        silent = "the object store of the warehouse did not answer completely, also when it was asked again"
        todo = "check that it runs, and s3.endpoint in the setting catalog, then run the same again"
        return NotReady(f"{action}: {silent}{_about(error)}; {todo}", reason=reason)
    meaning, todo = next(
        ((meaning, todo) for error_types, meaning, todo in _messages() if isinstance(error, error_types)), ("failed", "see the reason")
    )
    return NotReady(f"{action}: the catalog {meaning}; {todo}", reason=reason)


def _about(error: Exception) -> str:
    return f" ({error.address})" if isinstance(error, ObjectError) else ""


def is_disk_full(error: Exception) -> bool:
    """Whether the disk or quota of the warehouse or the database is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or (isinstance(error, SQLAlchemyError) and "disk is full" in str(error))


def with_translated_errors(catalog: Catalog) -> Catalog:
    """Make a catalog raise our errors when it cannot be reached or answers with an older state of a table than before.

    Its errors about tables and namespaces stay pyiceberg's.
    """
    for name in _CATALOG_CALLS:
        if hasattr(catalog, name):
            setattr(catalog, name, _translate(catalog, name))
    newest = NewestStates()
    load = catalog.load_table

    def load_table(identifier: str | Identifier) -> Table:
        name = _name_of(identifier)
        # Taken first: another thread may see a newer state meanwhile.
        before = newest.seen(name)
        table = load(identifier)
        state = SeenState.of(table.metadata, table.metadata_location)
        refuse_older(name, state, before)
        newest.note(name, state)
        return table

    def commit_table(table: Table, *args: Any) -> CommitTableResponse:
        response = type(catalog).commit_table(catalog, table, *args)
        newest.note(_name_of(table.name()), SeenState.of(response.metadata, response.metadata_location))
        return response

    setattr(catalog, "load_table", load_table)  # noqa: B010 - mypy allows no assignment to a method
    setattr(catalog, "commit_table", commit_table)  # noqa: B010
    return catalog


def _name_of(identifier: str | Identifier) -> str:
    return identifier if isinstance(identifier, str) else ".".join(identifier)


def drop_connections(catalog: Catalog) -> None:
    """Make a catalog reconnect: a broken connection may still be in its transaction, and would show rows that were never committed."""
    if isinstance(catalog, SqlCatalog) and catalog.engine.url.database not in (None, "", ":memory:"):
        catalog.engine.dispose()


@contextmanager
def translating_errors(action: str) -> Iterator[None]:
    """Translate errors of the block that mean that the catalog or warehouse cannot be reached."""
    try:
        yield
    except UNREACHABLE as error:
        raise to_store_error(error, action) from error


@cache
def _messages() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """Exception types with what they mean and what to do; the first match applies."""
    # Imported here: most catalogs are databases, which should not wait for the import of an HTTP library.
    from requests import RequestException  # noqa: PLC0415
    from requests.exceptions import InvalidJSONError  # noqa: PLC0415

    return (
        (
            (UnauthorizedError, OAuthError),
            "does not accept this user",
            "check the token or credential in the setting catalog, then run the same again",
        ),
        (
            (AuthorizationExpiredError,),
            "reports that this user's login has expired",
            "put a new token, or a credential to renew it, in the setting catalog, then run the same again",
        ),
        (
            (ForbiddenError,),
            "does not allow this user to do that",
            "grant the user of the setting catalog read and write access, then run the same again",
        ),
        ((TooManyRequestsError,), "received too many requests", "run the same again later"),
        ((ServiceUnavailableError,), "is not ready", "run the same again when it is"),
        ((CommitStateUnknownException, ServerError), "failed", "check its log, then run the same again"),
        (
            (ValidationError, InvalidJSONError),
            "sent an invalid response",
            "check that the setting catalog names an Iceberg catalog, not a proxy in front of it",
        ),
        ((NotImplementedError,), "does not support that", "use a catalog server that does"),
        ((RESTError,), "refused", "check the setting catalog and the server's log"),
        ((SQLAlchemyError, RequestException), "cannot be reached", "check that it runs, and the setting catalog, then run the same again"),
        (
            (FileNotFoundError,),
            "refers to a file that is missing",
            "check the setting warehouse, and whether the file was deleted",
        ),
        ((OSError,), "cannot be reached, or its warehouse cannot", "check that both run, and the settings catalog and warehouse"),
    )


def _translate(catalog: Catalog, name: str) -> Callable[..., Any]:
    verb = name.replace("_", " ")

    @wraps(getattr(catalog, name))
    def call(*args: Any, **options: Any) -> Any:
        target = args[0] if args else next(iter(options.values()), "")
        try:
            with translating_errors(f"{verb} {_name_of(target)}".strip()):
                return getattr(type(catalog), name)(catalog, *args, **options)
        except Exception as error:
            if isinstance(error, FeatureStoreError):
                drop_connections(catalog)
            raise
        except BaseException:
            drop_connections(catalog)
            raise

    return call


def _reason(error: Exception) -> str:
    """The first line of a library's message: the rest is SQL, or an HTML page."""
    cause = getattr(error, "orig", None) or error
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(cause).__name__)[:_REASON_LENGTH]
