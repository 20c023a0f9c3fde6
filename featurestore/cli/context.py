"""What all commands share: `--home`, `--url` and `--json`, and the store, which is imported only when a command needs it."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

import featurestore
from featurestore import private

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.settings import Settings
    from featurestore.store import FeatureStore

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

KEPT = "featurestore."
URL_VARIABLE = "FEATURESTORE_URL"


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep an option for the whole command line: it may stand before the sub-command or after it."""
    if value:
        ctx.find_root().meta[f"{KEPT}{option.name}"] = value


def _kept(name: str) -> Any:
    return click.get_current_context().find_root().meta.get(f"{KEPT}{name}")


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_keep,
    expose_value=False,
    help="Folder of all default state; .featurestore, or what the settings say.",
)
url_option = click.option(
    "--url",
    metavar="URL",
    callback=_keep,
    expose_value=False,
    help=f"Work on the server at this address, such as http://host:8080; {URL_VARIABLE}, or else the store of the settings.",
)
json_option = click.option("--json", "json", is_flag=True, callback=_keep, expose_value=False, help="Print JSON for programs.")


def shared(command: Decorated) -> Decorated:
    """The options of every command on a store, which a server may have."""
    return home_option(url_option(json_option(command)))


def local(command: Decorated) -> Decorated:
    """The options of a command that has no server to ask: it writes files, or is the server."""
    return home_option(json_option(command))


def as_json() -> bool:
    """Whether JSON was asked for."""
    return bool(_kept("json"))


def home() -> Path | None:
    """The home folder that was given; None when none was."""
    found: Path | None = _kept("home")
    return found


def url() -> str | None:
    """The address of the server to work on; None for the store of the settings."""
    found: str | None = _kept("url") or os.environ.get(URL_VARIABLE)
    return found or None


def settings(**given: Any) -> "Settings":
    """The settings of this command line. Raises: RequestError for wrong ones."""
    # Here and not above: pydantic takes longer to import than `--help` may take to print.
    with _uncollected():
        from featurestore.settings import load_settings  # noqa: PLC0415

    return load_settings(home=home(), **given)


@contextmanager
def store_at_hand(command: str) -> Iterator["FeatureStore"]:
    """The store of the settings, for what a server is not asked for. Raises: UsageError where a server's address is given."""
    if url() is not None:
        raise click.UsageError(f"{command} works on a store, not on a server: run it where the server runs")
    with store() as opened:
        yield cast("FeatureStore", opened)


@contextmanager
def store() -> Iterator["FeatureStore | RemoteStore"]:
    """The store of this command line: the one behind a server where its address is given, with the token of the settings."""
    address, found = url(), settings()
    if address is None:
        # What a library makes in the home folder is for its owner as well, and so are rows that a command writes elsewhere.
        with private.keeping_to_owner(), open_store(found) as opened:
            yield opened
    else:
        with featurestore.connect(address, None if found.token is None else found.token.reveal()) as remote:
            yield remote


def open_store(settings: "Settings") -> "FeatureStore":
    """The store of these settings, to be closed by whoever asked for it."""
    with _uncollected():
        kind = featurestore.FeatureStore
    return kind(settings=settings)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Imports without garbage collection: what they make stays, and looking through it over and over takes a tenth of a command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
