"""The git commit of definition files is recorded when they are applied, where there is one."""

import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from featurestore import FeatureStore, connect
from featurestore.dsl.documents import definitions_document
from featurestore.dsl.loader import load_definitions
from featurestore.files.git_commit import common_commit
from featurestore.records import definitions
from featurestore.records.runtime import Runtime
from tests import shop
from tests.server.test_errors import error_of
from tests.worlds import STAMP, load_source

TEXT = """
from featurestore import Entity, FeatureView, Source

view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", table="raw.t", timestamp="at"), features={"x": "FEATURE"})
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def recorded_commit(store: FeatureStore) -> str | None:
    runtime = Runtime(store.settings)
    commit = definitions.read_registry(runtime).get("view", "v").commit
    runtime.close()
    return commit


@pytest.mark.parametrize("remote", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_commit_is_recorded(tmp_path: Path, remote: bool) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    file = folder / "one.py"
    with FeatureStore(home=tmp_path / "home") as store, ExitStack() as opened:
        verbs = opened.enter_context(connect(opened.enter_context(shop.serving(store)))) if remote else store
        load_source(store, "raw.t", pa.table({"k": [1], "x": [1], "at": pa.array([0], STAMP)}))
        file.write_text(TEXT.replace("FEATURE", "x"))
        verbs.apply(str(folder))
        assert recorded_commit(store) is None
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "one")
        file.write_text(TEXT.replace("FEATURE", "x + 1"))
        git(folder, "commit", "-qam", "two")
        verbs.apply(str(folder))
        commit = git(folder, "rev-parse", "HEAD")
        assert recorded_commit(store) == commit
        file.write_text(TEXT.replace("FEATURE", "x + 2"))
        verbs.apply(verbs.plan(str(folder)))
        assert recorded_commit(store) == f"{commit}-dirty"
        assert store.view("v").definition.get(definitions.COMMIT) is None


@pytest.mark.slow
def test_a_commit_that_is_sent_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(TEXT.replace("FEATURE", "x"))
    with FeatureStore(home=tmp_path / "home") as store, shop.serving(store) as url:
        load_source(store, "raw.t", pa.table({"k": [1], "x": [1], "at": pa.array([0], STAMP)}))
        body = {"definitions": definitions_document(load_definitions(str(file)))}
        for commit in ("", "abcdef", "ABCDEF0", "abcdefg", "abcdef0-wet", "a" * 65, "abcdef0\n", 1234567):
            error = error_of(httpx.post(f"{url}/v1/apply", json={**body, "commit": commit}), 422, "RequestError")
            assert error["message"].startswith("the request has a wrong shape: commit: "), commit
        assert httpx.post(f"{url}/v1/apply", json={**body, "commit": "abcdef0-dirty"}).is_success
        assert recorded_commit(store) == "abcdef0-dirty"


def test_files_of_several_commits_have_none_in_common(tmp_path: Path) -> None:
    views = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(TEXT.replace("FEATURE", "x").replace('"v"', f'"{name}"'))
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
        views.append(load_definitions(str(folder / f"{name}.py")))
        assert common_commit(views[-1]) == git(folder, "rev-parse", "HEAD")
    both = replace(views[0], places={**views[0].places, **views[1].places})
    assert common_commit(both) is None
    assert common_commit(replace(views[0], places={})) is None
    (tmp_path / "one" / "two").mkdir()
    (tmp_path / "one" / "two" / "three.py").write_text("")
    assert common_commit(views[0]) == f"{git(tmp_path / 'one', 'rev-parse', 'HEAD')}-dirty"
