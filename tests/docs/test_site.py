"""The site has every page in its navigation, and the API reference has every public name."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import featurestore
from featurestore import errors, models, testing

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
NAVIGATION = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
REFERENCE = [name for page in sorted((DOCS / "api").glob("*.md")) for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]
EXPLAINED_ELSEWHERE = {"featurestore.testing.Row"}
"""A type alias, which the functions that return it describe."""


def test_every_page_is_in_the_navigation() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.parent != DOCS / "decisions"}
    assert pages - set(NAVIGATION) == set()
    assert "decisions/README.md" in NAVIGATION
    assert len(NAVIGATION) == len(set(NAVIGATION))


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"^- \[(.*)\]\((.*)\)$", (DOCS / "decisions" / "README.md").read_text(), flags=re.MULTILINE)
    pages = [page for page in sorted((DOCS / "decisions").glob("*.md")) if page.name != "README.md"]
    assert listed == [(page.read_text().splitlines()[0].removeprefix("# "), page.name) for page in pages]


@pytest.mark.parametrize("module", [featurestore, models, testing], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: object) -> None:
    names = {f"{module.__name__}.{name}" for name in module.__all__}  # type: ignore[attr-defined]
    assert names - set(REFERENCE) == names & EXPLAINED_ELSEWHERE


def test_errors_are_in_the_reference() -> None:
    assert errors.__name__ in REFERENCE


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_names_what_exists(name: str) -> None:
    parent, _, last = name.rpartition(".")
    module = import_module(parent)
    # `featurestore.models` imports MLflow, which takes seconds, when one of its names is read.
    assert last in getattr(module, "__all__", ()) or hasattr(module, last) or find_spec(name) is not None
