"""The pages about the command line have every command and option, and no page names an unknown one."""

import re
from pathlib import Path

import click

from featurestore.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EVERYWHERE = {"--home", "--json", "--url"}


def commands() -> dict[str, click.Command]:
    """Every sub-command by its name."""
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def options(command: click.Command) -> set[str]:
    """The long options of a command, but those that all have."""
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts} - EVERYWHERE


def test_every_command_and_option_is_described() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("cli.md", "cli-models.md", "cli-governance.md"))
    parts = re.split(r"^### `featurestore ([a-z-]+).*`$", page, flags=re.MULTILINE)[1:]
    described = {
        name: {option for row in re.findall(r"^\| (`--[^|]*)", text, flags=re.MULTILINE) for option in re.findall(r"`(--[a-z-]+)", row)}
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert described == {name: options(command) for name, command in commands().items()}


def test_commands_in_shell_blocks_exist() -> None:
    known = commands()
    for page in PAGES:
        for block in re.findall(r"^```(?:bash|console)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            for name, rest in re.findall(r"(?:^|\$ |&& |; )featurestore ([a-z-]+)([^\n&|#]*)", block, flags=re.MULTILINE):
                assert name in known, f"{page.name}: featurestore {name}"
                given = set(re.findall(r"(?<!\S)(--[a-z-]+)", rest))
                assert given <= options(known[name]) | EVERYWHERE, f"{page.name}: featurestore {name}{rest}"


def test_make_targets_in_shell_blocks_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        for block in re.findall(r"^```(?:bash|console)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            assert set(re.findall(r"^(?:\$ )?make ([a-z]+)", block, flags=re.MULTILINE)) <= targets
