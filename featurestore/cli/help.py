"""Help that is read on a terminal: headings stand out, commands are grouped by what one wants to do."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from featurestore.errors import near

WIDTH = 100


class Formatter(click.HelpFormatter):
    """click's formatter with colours; click takes them away where the output is no terminal."""

    def write_heading(self, heading: str) -> None:
        """A heading in bold."""
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 34, col_spacing: int = 3) -> None:
        """A list of names and what they are, the names in colour."""
        super().write_dl([(click.style(name, fg="cyan"), text) for name, text in rows], col_max, col_spacing)


class Context(click.Context):
    """Formats with ours, and at a width that is good to read."""

    formatter_class = Formatter

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_content_width", WIDTH)
        super().__init__(*args, **options)


class Command(click.Command):
    """A sub-command."""

    context_class = Context


class Group(click.Group):
    """A group whose commands are listed in sections, and imported when one of them is asked for.

    `sections` has, by title, each command's module and its summary by name: listing them must not cost what running them does.
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
        """The command. Ends with status 2 and the nearest names when there is none of this name."""
        if cmd_name not in self._modules:
            raise click.UsageError(f"no command '{cmd_name}'{near(cmd_name, self._modules)}", ctx)
        found = getattr(import_module(self._modules[cmd_name]), cmd_name.replace("-", "_"))
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list for each section, all with the same indent."""
        width = max(map(len, self._modules))
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, (_, summary) in commands.items()])
