"""Open the push log that the settings name."""

from pathlib import Path

from featurestore.dsl.durations import microseconds
from featurestore.errors import RequestError
from featurestore.push.event_log import EventLog
from featurestore.push.sqlite_log import SqliteLog
from featurestore.settings import Settings

SQLITE = "sqlite://"
REDIS = ("redis", "rediss", "unix")


def open_event_log(settings: Settings) -> EventLog:
    """The log of the setting `push_log`; by default a file in the home folder, for a catalog on this machine, and the database of a
    PostgreSQL catalog.

    Raises: RequestError for another catalog without that setting; NotReady if the log cannot be opened, or would lose rows.
    """
    address = settings.push_log_url()
    remembers = microseconds(settings.push_remembers)
    if address is None:
        raise RequestError(
            "the catalog is a server's, and there is no log for pushed events that all machines share: set push_log to the address of one,"
            " such as postgresql://host/database or redis://host:6379/0",
            field="push_log",
        )
    # Imported here, so that a process loads only the library that it uses.
    scheme = address.partition("://")[0]
    if scheme.partition("+")[0] == "postgresql":
        from featurestore.push.postgres_log import PostgresLog  # noqa: PLC0415

        return PostgresLog(address, settings.push_log_bytes(), remembers)
    if scheme in REDIS:
        from featurestore.push.redis_log import RedisLog  # noqa: PLC0415

        return RedisLog(address, settings.push_log_bytes(), remembers)
    return SqliteLog(Path(address.removeprefix(SQLITE)), settings.push_log_bytes(), remembers)
