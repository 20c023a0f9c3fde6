"""What all commands share: `--home` and `--json`, and the store, which is imported only when a command needs it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import featurestore

if TYPE_CHECKING:
    from featurestore.settings import Settings
    from featurestore.store import FeatureStore

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

HOME, JSON = "featurestore.home", "featurestore.json"


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep an option for the whole command line: `--home` may stand before the sub-command or after it."""
    if value:
        ctx.find_root().meta[HOME if option.name == "home" else JSON] = value


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_keep,
    expose_value=False,
    help="Folder of all default state; .featurestore, or what the settings say.",
)
json_option = click.option("--json", "json", is_flag=True, callback=_keep, expose_value=False, help="Print JSON for programs.")


def shared(command: Decorated) -> Decorated:
    """The options of every command that prints."""
    return home_option(json_option(command))


def as_json() -> bool:
    """Whether JSON was asked for."""
    return bool(click.get_current_context().find_root().meta.get(JSON))


def home() -> Path | None:
    """The home folder that was given; None when none was."""
    found: Path | None = click.get_current_context().find_root().meta.get(HOME)
    return found


def settings(**given: Any) -> "Settings":
    """The settings of this command line. Raises: RequestError for wrong ones."""
    # Here and not above: pydantic takes longer to import than `--help` may take to print.
    from featurestore.settings import load_settings  # noqa: PLC0415

    return load_settings(home=home(), **given)


@contextmanager
def store() -> Iterator["FeatureStore"]:
    """The store of this command line."""
    with featurestore.FeatureStore(settings=settings()) as opened:
        yield opened
