"""What a catalog or a warehouse raises that cannot be reached or refuses, told in our words with what to do."""

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
from sqlalchemy.exc import SQLAlchemyError

from featurestore.errors import FeatureStoreError, NotReady, OutOfResources

UNREACHABLE = (SQLAlchemyError, OSError, RESTError, ValidationError, NotImplementedError)
"""What a catalog or a warehouse that cannot be reached raises (network and HTTP errors are OSErrors; an answer that makes no sense
does not validate; what a server does not offer is not implemented)."""

_ASKED = (
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
"""Every question to a catalog but a commit, whose failures have a meaning of their own."""

_SHOWN = 300
"""So much of a server's answer is shown: it may be a whole page."""


def told(error: Exception, what: str) -> FeatureStoreError:
    """The error of ours that one of `UNREACHABLE` means; `what` was to be done, such as `loading features.f`."""
    if isinstance(error, FeatureStoreError):
        return error
    reason = _reason(error)
    if out_of_room(error):
        return OutOfResources(f"{what}: no space left; free some, then run the same again", reason=reason, resource="disk")
    meaning, todo = next(((meaning, todo) for kinds, meaning, todo in _advice() if isinstance(error, kinds)), ("failed", "see the reason"))
    return NotReady(f"{what}: the catalog {meaning}; {todo}", reason=reason)


def out_of_room(error: Exception) -> bool:
    """Whether a disk or a quota is full: in the warehouse, or under a database."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or (isinstance(error, SQLAlchemyError) and "disk is full" in str(error))


def told_by(catalog: Catalog) -> Catalog:
    """The same catalog, whose failures to answer are told as ours; what it says of tables and namespaces stays pyiceberg's."""
    for name in _ASKED:
        if hasattr(catalog, name):
            setattr(catalog, name, _told(catalog, name))
    return catalog


def forget_connections(catalog: Catalog) -> None:
    """Let a catalog connect anew: one on which something broke may still be in its transaction, and would show what never lands."""
    if isinstance(catalog, SqlCatalog) and catalog.engine.url.database not in (None, "", ":memory:"):
        catalog.engine.dispose()


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Tell what the block raises because catalog or warehouse cannot be reached."""
    try:
        yield
    except UNREACHABLE as error:
        raise told(error, what) from error


@cache
def _advice() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """The first kind that an error is of tells what it means and what to do."""
    # Here and not above: most catalogs are databases, and a listing of one is not to wait for a library that speaks HTTP.
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
            "says that this user's login has expired",
            "give the setting catalog a new token, or a credential to renew it with, then run the same again",
        ),
        (
            (ForbiddenError,),
            "does not allow this user to do that",
            "let the user of the setting catalog read and write, then run the same again",
        ),
        ((TooManyRequestsError,), "is asked too often", "run the same again later"),
        ((ServiceUnavailableError,), "is not ready", "run the same again when it is"),
        ((CommitStateUnknownException, ServerError), "failed", "look at its log, then run the same again"),
        (
            (ValidationError, InvalidJSONError),
            "gave an answer that makes no sense",
            "check that the setting catalog leads to an Iceberg catalog and to nothing that stands before it",
        ),
        ((NotImplementedError,), "does not offer that", "use a catalog server that does"),
        ((RESTError,), "refused", "check the setting catalog, and look at the server's log"),
        ((SQLAlchemyError, RequestException), "cannot be reached", "check that it runs, and the setting catalog, then run the same again"),
        (
            (FileNotFoundError,),
            "names a file that is missing",
            "check that the setting warehouse is right, and that nobody deleted the file",
        ),
        ((OSError,), "cannot be reached, or its warehouse cannot", "check that both run, and the settings catalog and warehouse"),
    )


def _told(catalog: Catalog, name: str) -> Callable[..., Any]:
    does = name.replace("_", " ")

    @wraps(getattr(catalog, name))
    def asked(*args: Any, **named: Any) -> Any:
        given = args[0] if args else next(iter(named.values()), "")
        of = given if isinstance(given, str) else ".".join(map(str, given))
        try:
            with reaching(f"{does} {of}".strip()):
                return getattr(type(catalog), name)(catalog, *args, **named)
        except Exception as error:
            if isinstance(error, FeatureStoreError):
                forget_connections(catalog)
            raise
        except BaseException:
            forget_connections(catalog)
            raise

    return asked


def _reason(error: Exception) -> str:
    """The first line of what a library says: the rest is SQL, or a page."""
    found = getattr(error, "orig", None) or error
    lines = [line for line in str(found).splitlines() if line.strip()]
    return (lines[0] if lines else type(found).__name__)[:_SHOWN]
