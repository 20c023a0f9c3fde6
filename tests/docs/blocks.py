"""Runs the fenced blocks of a page in order, as a reader would who types them into one session.

| block | what happens |
|---|---|
| python | runs in the page's namespace; with `>>>` its output is compared; when its first line is `# <path>.py` it is written there |
| console | each `$ command` (going on after `> `) runs in a shell and what it prints is compared |
| toml | must be settings that load |
| json | must be JSON |

Outputs are compared without regard to white space, and `...` stands for anything. A command must fail where what is shown begins with
ERROR, and only there. The first block that names SERVER starts one. A block that imports one of OPTIONAL is left out where that is missing.
"""

import doctest
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from click.testing import CliRunner
from sybil import Document, Example
from sybil.example import NotEvaluated
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from sybil.region import Lexeme

from featurestore import FeatureStore
from featurestore.cli import main
from featurestore.settings import load_settings
from tests.shop import serving

SERVER = "localhost:8080"
ERROR = "error  "
OPTIONAL = {"daft": "daft", "pyspark": "pyspark", "ray": "ray[data]", "torch": "torch==2.13.0"}
"""Packages that are too large to install everywhere: the module, and the requirement for pip."""
IMPORTED = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)
FILE = re.compile(r"# (\S+\.py)\n")
COMMAND = re.compile(r"^\$ (?P<command>.*(?:\n> .*)*)\n?(?P<output>(?:(?!\$ ).*\n?)*)", re.MULTILINE)
SHELL_SIGNS = re.compile(r"[|&;<>`]|\$\(")
VARIABLE = re.compile(r"\$(\w+)")
PATIENCE_SECONDS = 60


class Page:
    """One page, read from `path`, whose blocks run in the current folder.

    `missing` has the modules for want of which blocks were left out.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._shell = Shell()
        self._address: str | None = None
        self.missing: list[str] = []
        self._document = Document(path.read_text(encoding="utf-8"), str(path))
        self._document.push_evaluator(self._before)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        for parser in (
            PythonCodeBlockParser(doctest_optionflags=flags),
            CodeBlockParser("console", self._console),
            CodeBlockParser("toml", _toml),
            CodeBlockParser("json", _json),
        ):
            for region in parser(self._document):
                self._document.add(region)

    def examples(self) -> Iterator[Example]:
        """The blocks in order, each to be evaluated once."""
        return self._document.examples()

    def _before(self, example: Example) -> None:
        """Write a file that a block shows; start the server that a block speaks to; leave the rest to the block's own evaluator."""
        if isinstance(example.parsed, Lexeme):
            absent = [name for name in IMPORTED.findall(example.parsed) if name in OPTIONAL and importlib.util.find_spec(name) is None]
            if absent:
                self.missing += [name for name in absent if name not in self.missing]
                return
            if named := FILE.match(example.parsed):
                Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
                Path(named[1]).write_text(example.parsed, encoding="utf-8")
                return
            if SERVER in example.parsed:
                text = example.parsed.replace(SERVER, self._server())
                example.parsed = Lexeme(text, example.parsed.offset, example.parsed.line_offset)
        raise NotEvaluated

    def _server(self) -> str:
        if self._address is None:
            # In this process, as the commands are.
            store = self._stack.enter_context(FeatureStore(settings=load_settings()))
            self._address = self._stack.enter_context(serving(store, jobs=True)).removeprefix("http://")
        return self._address

    def _console(self, example: Example) -> str | None:
        for entry in COMMAND.finditer(example.parsed):
            status, printed = self._shell.run(entry["command"].replace("\\\n> ", "").replace("\n> ", "\n"))
            if (status != 0) != entry["output"].startswith(ERROR):
                return f"$ {entry['command']}\nended with status {status}:\n{printed}"
            if not _matches(entry["output"], printed):
                return f"$ {entry['command']}\nthe page shows:\n{entry['output']}\nbut it prints:\n{printed}"
        return None


@contextmanager
def open_page(path: Path) -> Iterator[Page]:
    """A page; a server that its blocks started ends with it."""
    with ExitStack() as stack:
        yield Page(path, stack)


class Shell:
    """One session: the folder and the variables that a command leaves hold for the next one, and the folder for the page as well."""

    def __init__(self) -> None:
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, command: str) -> tuple[int, str]:
        """Exit status, and output and errors together."""
        words = shlex.split(VARIABLE.sub(lambda found: self._environment.get(found[1], ""), command))
        if words[0] == "featurestore" and words[1:] and not SHELL_SIGNS.search(command):
            # In this process: a new one takes seconds to import what this one has.
            result = CliRunner().invoke(main, words[1:], prog_name=words[0])
            return result.exit_code, result.output
        with tempfile.NamedTemporaryFile() as after:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", f"set -a\n{command}\nstatus=$?; env -0 >'{after.name}'; exit $status"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            self._environment = dict(pair.split("=", 1) for pair in after.read().decode().split("\0") if pair)
        os.chdir(self._environment["PWD"])
        return done.returncode, done.stdout


def _matches(shown: str, printed: str) -> bool:
    parts = [re.escape("".join(part.split())) for part in shown.split("...")]
    return re.fullmatch(".*".join(parts), "".join(printed.split())) is not None


def _toml(example: Example) -> None:
    file = Path("featurestore.toml")
    before = file.read_text(encoding="utf-8") if file.exists() else None
    file.write_text(example.parsed, encoding="utf-8")
    try:
        load_settings()
    finally:
        file.unlink() if before is None else file.write_text(before, encoding="utf-8")


def _json(example: Example) -> None:
    json.loads(example.parsed)
