"""Check what a source says of the database that its rows are in."""

import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from featurestore.dsl.definitions import owner_of
from featurestore.dsl.durations import microseconds
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.source import Source, is_address
from featurestore.errors import brief
from featurestore.redaction import is_secret, without_secrets

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_TABLE = re.compile(r"[^.\0]{1,63}(\.[^.\0]{1,63})?")
_ONLY_WITH_URL = ("watermark", "id", "overlap", "zone")


def database_problems(source: Source) -> Iterator[FieldProblem]:
    """Check a source of a database: its address, which has no secrets, its table, and how its rows are told apart."""
    owner = owner_of(source)
    if source.url is None:
        for name in _ONLY_WITH_URL:
            if getattr(source, name) is not None and not (source.pushed and name == "id"):
                yield FieldProblem(owner, name, "says how a table of a database is copied, and there is no url=")
        return
    yield from problems_at(owner, "url", _url_faults(source.url))
    for name in ("path", "sql"):
        if getattr(source, name) is not None:
            yield FieldProblem(owner, name, "with url=, the rows are those of a table of that database; leave this out")
    if not isinstance(source.table, str) or not _TABLE.fullmatch(source.table):
        yield FieldProblem(owner, "table", f"{brief(source.table)} is no table of a database; write name or schema.name")
    if not source.watermark or not isinstance(source.watermark, str):
        message = "is missing, which url= needs; name the column that grows with each new or changed row, such as 'updated_at'"
        yield FieldProblem(owner, "watermark", message)
    if source.id is not None and (not source.id or not isinstance(source.id, str)):
        yield FieldProblem(owner, "id", f"is {brief(source.id)}; name the column that identifies a row, or leave it out")
    if source.overlap is not None:
        yield from problems_at(owner, "overlap", _overlap_faults(source.overlap))
    if source.zone is not None:
        yield from problems_at(owner, "zone", _zone_faults(source.zone))


def _url_faults(url: object) -> Iterator[str]:
    if not isinstance(url, str) or not (is_address(url) or _NAME.fullmatch(url)):
        yield f"is {brief(url)}; give a name in the setting databases, such as 'warehouse'"
        return
    if not is_address(url):
        return
    scheme, _, rest = url.partition("://")
    server, _, query = rest.partition("?")
    if "@" in server and ":" in server.rpartition("@")[0]:
        yield f"{brief(without_secrets(url))} has a password, which readers of the definition would see; name it in the setting databases"
    elif any(is_secret(item.partition("=")[0]) for item in query.split("&")):
        yield f"{brief(without_secrets(url))} has a secret, which readers of the definition would see; name it in the setting databases"
    elif not re.fullmatch(r"postgres(ql)?", scheme):
        yield f"{brief(without_secrets(url))} is no address of a database that can be read; give one of postgresql://"


def _overlap_faults(overlap: object) -> Iterator[str]:
    try:
        microseconds(str(overlap))
    except ValueError as error:
        yield str(error)


def _zone_faults(zone: object) -> Iterator[str]:
    try:
        ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"{brief(zone)} is no zone of the IANA database; write one such as 'UTC' or 'Europe/Berlin'"
