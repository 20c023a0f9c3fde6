"""Open the push log that the settings name."""

from pathlib import Path

from featurestore.dsl.durations import microseconds
from featurestore.errors import RequestError
from featurestore.push.event_log import EventLog
from featurestore.push.sqlite_log import SqliteLog
from featurestore.settings import Settings

SQLITE = "sqlite://"


def open_event_log(settings: Settings) -> EventLog:
    """The log of the setting `push_log`; by default a file in the home folder, for a catalog on this machine.

    Raises: RequestError for another catalog without that setting; NotReady if the log cannot be opened.
    """
    address = settings.push_log_url()
    remembers = microseconds(settings.push_remembers)
    if address is None:
        raise RequestError(
            "the catalog is not a file of this machine, so pushed events need a log whose place is set: set push_log to the address of one,"
            " such as sqlite:///var/lib/featurestore/push.sqlite",
            field="push_log",
        )
    return SqliteLog(Path(address.removeprefix(SQLITE)), settings.push_log_bytes(), remembers)
