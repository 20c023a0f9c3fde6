"""A page with a wrong statement fails its test."""

import json
from pathlib import Path

import pytest

from featurestore.errors import RequestError
from tests.docs.blocks import open_page

FENCE = "```"


def run(tmp_path: Path, *blocks: tuple[str, str]) -> None:
    """Run a page of (info string, content) blocks in a folder of its own."""
    page = tmp_path / "page.md"
    page.write_text("\n\n".join(f"{FENCE}{info}\n{content}\n{FENCE}" for info, content in blocks))
    with open_page(page) as read:
        for example in read.examples():
            example.evaluate()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "info,content",
    [
        ("python", "assert 1 == 2"),
        ("python", ">>> 1 + 1\n3"),
        ("console", "$ echo one\ntwo"),
        ("console", "$ echo one; false\none"),
        ("console", "$ echo one\n$ echo two\nthree"),
        ("console", "$ featurestore show vews\n..."),
        ("console", "$ echo 'error  it worked'\nerror  it worked"),
        ("toml", "hom = 'elsewhere'"),
        ("json", "{1: 2}"),
    ],
)
def test_what_is_wrong_fails(tmp_path: Path, info: str, content: str) -> None:
    with pytest.raises((AssertionError, RequestError, json.JSONDecodeError)):
        run(tmp_path, (info, content))


def test_what_is_right_passes(tmp_path: Path) -> None:
    run(
        tmp_path,
        ("python", "# inner/seven.py\nSEVEN = 7"),
        ("python", "import runpy\nfound = runpy.run_path('inner/seven.py')['SEVEN']"),
        ("python", ">>> found\n7"),
        ("console", '$ echo "one\n> two"\none two\n$ cd inner && echo \'{"a": [1, 2], "b": 3}\'\n{"a": [1,\n 2], ...}\n$ ls\nseven.py'),
        ("console", "$ WHAT=views\n$ featurestore show $WHAT\nno views yet"),
        ("console", "$ featurestore show views x\nerror  no view 'x'; there are none"),
        ("toml", "port = 0"),
        ("json", '{"a": 1}'),
        ("bash", "exit 1"),
    )
