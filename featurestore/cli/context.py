"""The options shared by all commands (`--home`, `--url`, `--json`) and the store, imported only by commands that need it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import featurestore
from featurestore import private
from featurestore.values.garbage import pause_garbage_collection

if TYPE_CHECKING:
    from featurestore.settings import Settings
    from featurestore.store import FeatureStore
    from featurestore.store_protocol import Store

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

META_PREFIX = "featurestore."
URL_VARIABLE = "FEATURESTORE_URL"


def _store_option(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Store an option for the whole command line: it may be given before or after the subcommand."""
    if value:
        ctx.find_root().meta[f"{META_PREFIX}{option.name}"] = value


def _option(name: str) -> Any:
    return click.get_current_context().find_root().meta.get(f"{META_PREFIX}{name}")


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_store_option,
    expose_value=False,
    help="Folder of all default state; default: the setting home.",
)
url_option = click.option(
    "--url",
    metavar="URL",
    callback=_store_option,
    expose_value=False,
    help=f"Use the server at this address, as in http://host:8080; default: {URL_VARIABLE}, else the local store.",
)
json_option = click.option("--json", "json", is_flag=True, callback=_store_option, expose_value=False, help="Print JSON.")


def store_options(command: Decorated) -> Decorated:
    """The options of commands that work on a local store or on a server."""
    return home_option(url_option(json_option(command)))


def local_options(command: Decorated) -> Decorated:
    """The options of commands that never use a server: they write files, or are the server."""
    return home_option(json_option(command))


def as_json() -> bool:
    """Whether --json was given."""
    return bool(_option("json"))


def home() -> Path | None:
    """The value of --home; None if it was not given."""
    path: Path | None = _option("home")
    return path


def url() -> str | None:
    """The address of the server to use; None for the local store."""
    address: str | None = _option("url") or os.environ.get(URL_VARIABLE)
    return address or None


def settings(**overrides: Any) -> "Settings":
    """The settings of this command line. Raises: RequestError for invalid ones."""
    # Imported here, since pydantic would slow down `--help`.
    # Imported objects stay, and to search them repeatedly takes a tenth of a command's time.
    with pause_garbage_collection():
        from featurestore.settings import load_settings  # noqa: PLC0415

    return load_settings(home=home(), **overrides)


@contextmanager
def store() -> Iterator["Store"]:
    """The store of this command line: local, or behind a server if its address is given, with the token of the settings."""
    address, loaded_settings = url(), settings()
    if address is None:
        # Files that libraries create in the home folder, and rows that a command writes elsewhere, are readable by the owner only.
        with private.owner_only_umask(), open_store(loaded_settings) as local_store:
            yield local_store
    else:
        # Whoever waits at a terminal learns at once that a server is not ready.
        with featurestore.connect(address, None if loaded_settings.token is None else loaded_settings.token.reveal(), retries=0) as remote:
            yield remote


def open_store(settings: "Settings") -> "FeatureStore":
    """The store of these settings; the caller closes it."""
    with pause_garbage_collection():
        store_class = featurestore.FeatureStore
    return store_class(settings=settings)
