"""Help is fast and complete, and agrees with each command."""

import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from featurestore.cli.main import SECTIONS, main
from tests.cli.running import COMMAND, PROJECT, environment, process, run

COMMANDS = {name: summary for commands in SECTIONS.values() for name, (_, summary) in commands.items()}
DOCUMENTED = (
    "init plan apply remove materialize publish verify-online training-set rebuild diff online score serve maintain demo show doctor"
    " impact lineage tag tags erase erasures"
    " promote demote rollback archive audit replay history write push traffic compare-traffic key grant revoke audit-log share recipient"
)


def test_every_documented_command_is_there() -> None:
    assert set(COMMANDS) == set(DOCUMENTED.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_the_list_says(name: str) -> None:
    done = run(name, "--help")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[2].strip() == COMMANDS[name]
    options = {option for parameter in command(name).params for option in parameter.opts}
    assert {"--home", "--json"} <= options


def test_the_list_shows_them_all() -> None:
    done = run("--help")
    for name, summary in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, summary] for line in done.stdout.splitlines()), name


def test_wrong_usage_ends_with_two() -> None:
    for arguments in (
        ["mater"],
        ["plan", "--nope"],
        ["show"],
        ["show", "view"],
        ["online"],
        ["training-set", "churn"],
        ["maintain", "--older-than", "soon"],
    ):
        assert run(*arguments).exit_code == 2, arguments
    assert "did you mean 'materialize'" in run("mater").stderr


def test_help_imports_nothing_heavy() -> None:
    """Listing commands loads none of them; a command's own help loads rich, and nothing that takes longer."""
    code = (
        "import sys\nfrom featurestore.cli import main\n"
        "heavy = {'pyarrow', 'duckdb', 'pyiceberg', 'sqlglot', 'pydantic', 'fastapi', 'mlflow', 'httpx'}\n"
        f"for arguments in {[[], *([name] for name in COMMANDS)]!r}:\n"
        "    try: main([*arguments, '--help'])\n"
        "    except SystemExit: print('LOADED', arguments, sorted((heavy | (set() if arguments else {'rich'})) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True)
    loaded = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert len(loaded) == len(COMMANDS) + 1
    assert all(line.endswith("[]") for line in loaded), loaded


def test_help_is_quick() -> None:
    """In seconds of processor time, which a busy machine does not make longer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, "--help"], env=environment(), stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_a_program_ends_with_the_status_of_its_command_and_all_of_its_output(tmp_path: Path) -> None:
    whole = process("--help", folder=tmp_path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.splitlines()[1:] == run("--help").stdout.splitlines()[1:]
    wrong = process("mater", folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1] == run("mater").stderr.splitlines()[-1]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([*COMMAND, "--help"], cwd=tmp_path, env=environment(), stdout=full, check=False).returncode != 0


def test_the_version(tmp_path: Path) -> None:
    assert process("--version", folder=tmp_path).stdout.startswith("featurestore ")
    assert (PROJECT / "pyproject.toml").exists()


def command(name: str) -> click.Command:
    """The command of this name."""
    assert isinstance(main, click.Group)
    command_in_help = main.get_command(click.Context(main), name)
    assert command_in_help is not None
    return command_in_help
