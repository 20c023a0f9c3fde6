"""Unavailable or full services: errors say what to do, and the store works again afterwards."""

import json
import shlex
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import Engine

from featurestore import Entity, FeatureStore, FeatureView, Settings, Source, check
from featurestore.errors import FeatureStoreError, NotReady
from tests import s3, shop
from tests.cli.running import COMMAND, environment
from tests.faults import life
from tests.faults.test_rest import VERBS
from tests.faults.wires import Sql, wire

ASKED: dict[str, Callable[[FeatureStore], object]] = {
    **VERBS,
    "models": lambda store: store.models(),
    "service": lambda store: store.backend.service_plan("service"),
    "repair": lambda store: store.repair(),
    "get training set": lambda store: store.get_training_set("first-0"),
    "entities": lambda store: store.entities(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_that_is_away_is_told_by_every_verb(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as reached:
        assert isinstance(reached, Sql)
        settings = reached.settings(tmp_path / "home")
        with FeatureStore(settings=settings) as store, FeatureStore(settings=settings) as later:
            life.begin(store)
            store.apply(life.declare())
            store.materialize(end="2026-01-05")
            away(store.catalog.engine, reached, tmp_path / "home")  # type: ignore[attr-defined]
            for name, verb in ASKED.items():
                for opened in (store, later):
                    with pytest.raises(FeatureStoreError) as caught:
                        verb(opened)
                    assert isinstance(caught.value, NotReady), name
                    assert "check that it runs, and the setting catalog" in caught.value.message, name
            report = store.check()
            assert isinstance(report["catalog"], NotReady)
            back(reached, tmp_path / "home")
            assert [view["name"] for view in store.views()] == ["counts", "last"]
            assert all(problem is None for problem in later.check().values())


def away(engine: Engine, reached: Sql, home: Path) -> None:
    """Nobody is let in any more."""
    if reached.through is None:
        (home / "catalog.db").rename(home / "kept.db")
        (home / "catalog.db").mkdir()
    else:
        reached.through.dead = True
    engine.dispose()


def back(reached: Sql, home: Path) -> None:
    """All as before."""
    if reached.through is None:
        (home / "catalog.db").rmdir()
        (home / "kept.db").rename(home / "catalog.db")
    else:
        reached.through.dead = False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Connection pool is full")
def test_s3_that_closes_while_a_run_computes(tmp_path: Path) -> None:
    with ExitStack() as open_for_now:
        endpoint = open_for_now.enter_context(s3.server())
        settings = Settings(home=tmp_path, warehouse="s3://lake/closing", catalog=s3.connection(endpoint, tmp_path))
        with FeatureStore(settings=settings) as store:
            life.begin(store)
            store.apply(life.declare())
            # What the source has is read by then, and what comes of it is not written.
            with pytest.raises(NotReady) as caught:
                store.materialize("last", end="2026-01-05", progress=lambda told: open_for_now.close())
    assert "check" in caught.value.message
    assert "Traceback" not in str(caught.value.details)


@pytest.mark.slow
def test_a_failed_job_has_its_runs_and_its_error_over_http(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        life.begin(store)
        source, thing = Source("s", table="raw.s", timestamp="at"), Entity("thing", keys="k")
        good = FeatureView("good", entity=thing, source=source, features=["x"])
        bad = FeatureView("bad", entity=thing, source=source, features=["x"], checks=[check.that("x > 0.5", name="large enough")])
        store.apply([good, bad])
        with shop.serving(store, jobs=True) as url, httpx.Client(base_url=url, timeout=60) as http:
            job = http.post("/v1/materializations", json={"end": "2026-01-05"}).json()
            ended: dict[str, Any] = {}
            while ended.get("state") not in ("failed", "done"):
                ended = http.get(job["url"], params={"wait": 5}).json()
    assert ended["state"] == "failed"
    assert "large enough" in json.dumps(ended["error"])
    assert [run["view"] for run in ended["result"]] == ["good"]


@pytest.mark.slow
def test_a_full_disk_is_told_by_the_command_line(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts of one's own here: util-linux with user namespaces")
    with FeatureStore(home=tmp_path / "home") as store:
        life.begin(store)
        store.apply(life.declare())
    (tmp_path / "home" / "warehouse" / "features").mkdir(exist_ok=True)
    features = tmp_path / "home" / "warehouse" / "features"
    kept = tmp_path / "kept"
    # Tables take whole pages; there is room for one or two more.
    pages = sum(-(-path.stat().st_size // 4096) for path in features.rglob("*") if path.is_file())
    command = shlex.join([*COMMAND, "--home", str(tmp_path / "home"), "materialize", "--end", "2026-01-05"])
    script = (
        f"cp -r {features} {kept} && mount -t tmpfs -o size={(pages + 2) * 4}k tmpfs {features} && cp -r {kept}/. {features} && {command}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr or "no space left" in done.stderr, done.stderr
    again = subprocess.run(command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
