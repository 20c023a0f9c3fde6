"""The git commit of definition files is recorded when they are applied, where there is one."""

import subprocess
from pathlib import Path

import pyarrow as pa

from featurestore import FeatureStore
from featurestore.records import definitions
from featurestore.records.runtime import Runtime
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


def test_the_commit_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    file = folder / "one.py"
    with FeatureStore(home=tmp_path / "home") as store:
        load_source(store, "raw.t", pa.table({"k": [1], "x": [1], "at": pa.array([0], STAMP)}))
        file.write_text(TEXT.replace("FEATURE", "x"))
        store.apply(str(folder))
        assert recorded_commit(store) is None
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "one")
        file.write_text(TEXT.replace("FEATURE", "x + 1"))
        git(folder, "commit", "-qam", "two")
        store.apply(str(folder))
        commit = git(folder, "rev-parse", "HEAD")
        assert recorded_commit(store) == commit
        file.write_text(TEXT.replace("FEATURE", "x + 2"))
        store.apply(str(folder))
        assert recorded_commit(store) == f"{commit}-dirty"
        assert store.view("v").definition.get(definitions.COMMIT) is None
