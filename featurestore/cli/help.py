"""Help output with highlighted headings and commands grouped into sections."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from featurestore.errors import near

WIDTH = 100


class Formatter(click.HelpFormatter):
    """click's formatter with colors, which click strips if the output is not a terminal."""

    def write_heading(self, heading: str) -> None:
        """A heading in bold."""
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 34, col_spacing: int = 3) -> None:
        """A definition list with colored names."""
        super().write_dl([(click.style(name, fg="cyan"), text) for name, text in rows], col_max, col_spacing)


class Context(click.Context):
    """A context with `Formatter` and a readable width."""

    formatter_class = Formatter

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_content_width", WIDTH)
        super().__init__(*args, **options)


class Command(click.Command):
    """A subcommand."""

    context_class = Context


class Group(click.Group):
    """A group whose commands are listed in sections and imported only when called.

    `sections` has, by title and command name, the module and the summary, so that listing commands does not import them.
    """

    context_class = Context

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, tuple[str, str]]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._sections = sections
        self._modules = {name: module for commands in sections.values() for name, (module, _) in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in order."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with this name. Exits with status 2 and the nearest names if there is none."""
        if cmd_name not in self._modules:
            raise click.UsageError(f"no command '{cmd_name}'{near(cmd_name, self._modules)}", ctx)
        command = getattr(import_module(self._modules[cmd_name]), cmd_name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list for each section, all with the same indent."""
        width = max(map(len, self._modules))
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, (_, summary) in commands.items()])
