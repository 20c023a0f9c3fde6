"""Every command on the example project: its output for people and for programs."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore
from tests.cli.running import as_json, run

TRAIN = ["training-set", "churn", "--spine", "data/observations.parquet", "--timestamp", "observed_at", "--label", "churned"]


def days_ago(count: int) -> str:
    """The date of so many days ago; the example's rows lie in the past 120 days."""
    return (datetime.now(UTC) - timedelta(days=count)).date().isoformat()


@pytest.mark.slow
def test_plan_apply_and_plan_again(fresh: Path) -> None:
    planned = as_json("plan")
    assert planned["changed"] is True
    assert {(step["action"], step["kind"]) for step in planned["steps"]} == {
        *(("create", kind) for kind in ("entity", "source", "view", "service")),
    }
    shown = run("plan", "--sql")
    assert "+ create" in shown.stdout
    assert "CREATE TEMP TABLE" in shown.stdout
    assert run("plan", "--check").exit_code == 1
    assert "featurestore materialize" in run("apply").stdout
    assert run("plan", "--check").exit_code == 0
    assert "6 definitions unchanged" in run("plan").stdout
    assert as_json("apply")["changed"] is False


def test_a_missing_file_of_rows_is_named(fresh: Path) -> None:
    refused = run("write", "prices", "data/pries.csv")
    assert refused.exit_code == 1
    assert "no file of rows 'data/pries.csv'" in refused.stderr


def test_a_change_is_shown_as_one(fresh: Path) -> None:
    assert run("apply").exit_code == 0
    file = fresh / "definitions" / "shop.py"
    file.write_text(file.read_text().replace('over=["7d", "30d"]', 'over=["7d", "14d", "30d"]'))
    assert "» new version" in run("plan").stdout
    file.write_text(file.read_text().replace("spend_30d / nullif", "spend / nullif"))
    refused = run("plan")
    assert refused.exit_code == 1
    assert "definitions/shop.py:" in refused.stderr
    assert "did you mean 'spend_30d'" in refused.stderr


@pytest.mark.slow
def test_a_plan_tells_what_follows(fresh: Path) -> None:
    assert run("apply").exit_code == 0
    waiting = run("plan", "--check")
    assert waiting.exit_code == 0, "there is nothing to apply"
    assert "… to fill" in waiting.stdout
    assert "customer_orders    v1   waits for its backfill" in waiting.stdout
    assert "its backfill reads 1 file" in waiting.stdout
    file = fresh / "definitions" / "shop.py"
    file.write_text(file.read_text().replace('over=["7d", "30d"]', 'over=["7d", "14d", "30d"]'))
    shown = run("plan", "--diff").stdout
    assert "--- customer_orders v1\n+++ customer_orders v2\n" in shown
    assert "orders_14d" in shown
    (fresh / "definitions" / "other.py").write_text('from featurestore import Entity\nseller = Entity("seller", "seller_id")\n')
    run("apply", str(fresh / "definitions" / "other.py"))
    (fresh / "definitions" / "other.py").unlink()
    assert "only in the catalog, and not changed: entity seller" in run("plan").stdout


@pytest.mark.slow
def test_remove(fresh: Path) -> None:
    run("apply")
    run("materialize")
    refused = run("remove", "customer_orders", "--version", "1", "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is the current version of view customer_orders" in refused.stderr
    assert "read by the service churn v1" in run("remove", "customer_orders", "--yes").stderr
    file = fresh / "definitions" / "shop.py"
    file.write_text(file.read_text().replace('over=["7d", "30d"]', 'over=["7d", "14d", "30d"]'))
    run("apply")
    run("materialize", "customer_orders")
    asked = run("remove", "customer_orders", "--version", "1")
    assert asked.exit_code == 1, "nobody said yes"
    assert "remove view customer_orders v1: " in asked.stderr
    assert as_json("remove", "customer_orders", "--version", "1", "--dry-run")["versions"] == [1]
    assert run("remove", "customer_orders", "--version", "1", "--json").exit_code == 2, "a program is not asked"
    assert "with older service versions that read it: churn v1" in run("remove", "customer_orders", "--version", "1", "--yes").stdout
    assert run("remove", "customer_orders", "--version", "1", "--yes").exit_code == 1
    assert run("remove", "churn", "--service", "--version", "1").exit_code == 2
    assert as_json("remove", "churn", "--service", "--yes")["versions"] == [2]
    assert as_json("remove", "customer_orders", "--yes")["versions"] == [2]
    assert [view["name"] for view in as_json("show", "views")] == ["customer_profile"]


@pytest.mark.slow
def test_materialize(fresh: Path) -> None:
    assert "no view is applied yet" in run("materialize").stdout
    run("apply")
    first = as_json("materialize", "customer_profile", "--end", "2999-01-01")
    assert [run["view"] for run in first] == ["customer_profile"]
    shown = run("materialize")
    assert shown.exit_code == 0
    assert "customer_orders" in shown.stdout
    assert [run["rows_appended"] for run in as_json("materialize")] == [0, 0]
    refused = run("materialize", "customer_order")
    assert refused.exit_code == 1
    assert "did you mean 'customer_orders'" in refused.stderr


@pytest.mark.slow
def test_publish(fresh: Path) -> None:
    run("apply")
    assert "customer_orders_v1 has no rows to publish; run: featurestore materialize" in run("publish").stdout
    run("materialize")
    assert [publication["rows"] for publication in as_json("publish")] == [0, 0]
    shutil.rmtree(fresh / ".featurestore" / "online")
    [filled] = as_json("publish", "customer_profile")
    assert filled["rows"] > 0
    assert as_json("publish", "--full", "customer_profile") == [filled]
    shown = run("publish", "--full", "customer_profile").stdout
    assert filled["snapshot_id"] in shown
    assert run("publish", "--url", "http://127.0.0.1:1").exit_code == 1
    assert "did you mean 'customer_orders'" in run("publish", "customer_order").stderr


@pytest.mark.slow
def test_online(example: Path) -> None:
    shown = run("online", "churn", "customer_id=13", "--request", "basket=80")
    assert shown.exit_code == 0
    assert "orders_7d" in shown.stdout
    assert "PRESENT" in shown.stdout
    body = as_json("online", "churn", "customer_id=13", "customer_id=999", "--request", "basket=80")
    assert body["status"]["customer_orders"] == ["PRESENT", "NOT_FOUND"]
    assert body["rows"][0][0] > 0
    refused = run("online", "churn", "customer_id=abc", "--request", "basket=80")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "customer_id" in refused.stderr
    assert run("online", "churn", "customer_id").exit_code == 2
    assert run("online", "churn").exit_code == 2


@pytest.mark.slow
def test_training_sets(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    manifest = as_json(*TRAIN, "--out", str(out), "--name", "first")
    rows = pq.read_table(out)
    assert rows.num_rows == manifest["rows"] == 450
    assert rows.schema.names[:4] == ["customer_id", "observed_at", "basket", "churned"]
    id = manifest["id"]
    again = run(*TRAIN, "--name", "first", "--snapshot", *[f"{t}={v['snapshot_id']}" for t, v in manifest["views"].items()][:1])
    assert id in again.stdout
    assert id in run("show", "training-sets").stdout
    assert as_json("show", "training-sets", id)["digest"] == manifest["digest"]
    assert "bit for bit" in run("rebuild", id).stdout
    assert as_json("rebuild", id) == {"id": id, "verified": True, "digest": manifest["digest"], "rows": 450}
    assert run("rebuild", "first-0").exit_code == 1


def test_training_sets_that_cannot_be(example: Path, tmp_path: Path) -> None:
    assert "data/observations.parquet" in run(*TRAIN[:3], "data/observation.parquet", *TRAIN[4:]).stderr
    assert run(*TRAIN, "--out", str(tmp_path / "no" / "folder.parquet")).exit_code == 1
    assert run(*TRAIN, "--snapshot", "nonsense").exit_code == 2
    assert run(*TRAIN, "--known", "later").exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_training_set_without_a_spine(fresh: Path) -> None:
    file = fresh / "definitions" / "shop.py"
    file.write_text(file.read_text() + '\nactivity = FeatureService("activity", features=[customer_orders])\n')
    assert run("apply").exit_code == 0
    assert run("materialize").exit_code == 0
    grid = ["training-set", "activity", "--start", days_ago(20), "--end", days_ago(6), "--every", "7d"]
    manifest = as_json(*grid, "--split", f"train={days_ago(7)}", "--split", "test=")
    assert (manifest["rows"], manifest["split"]["rows"]) == (150, {"train": 100, "test": 50})
    assert [column["name"] for column in manifest["columns"]][:2] == ["customer_id", "timestamp"]
    with FeatureStore() as store:
        assert store.training_set("activity", start=days_ago(20), end=days_ago(6), every="7d").digest == manifest["digest"]
    refused = run("training-set", "churn", *grid[2:])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "request fields" in refused.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--spine is missing"),
        (["--spine", "x.parquet"], "--timestamp is missing"),
        (["--timestamp", "t"], "--spine is missing"),
        (["--start", "2026-01-01", "--end", "2026-01-02"], "--every is missing"),
        (["--spine", "x.parquet", "--timestamp", "t", "--end", "2026-01-02"], "not --spine and --end"),
    ],
)
def test_a_spine_or_a_grid(arguments: list[str], message: str) -> None:
    refused = run("training-set", "churn", *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_show(example: Path) -> None:
    for what, name in (("entities", "customer"), ("sources", "orders"), ("views", "customer_orders"), ("services", "churn")):
        listed = run("show", what)
        assert listed.exit_code == 0
        assert name in listed.stdout
        assert name in [entry["name"] for entry in as_json("show", what)]
        assert as_json("show", what, name)["name"] == name
        assert run("show", what, name).exit_code == 0
        refused = run("show", what, f"{name}s")
        assert refused.exit_code == 1
        assert f"did you mean '{name}'" in refused.stderr
    assert "SELECT" in run("show", "views", "customer_orders", "--sql").stdout
    assert as_json("show", "models") == []
    assert "no models yet" in run("show", "models").stdout


def test_maintain(example: Path) -> None:
    assert "dry run" in run("maintain", "--older-than", "1d", "--dry-run").stdout
    assert {report["table"] for report in as_json("maintain")} >= {"features.customer_orders_v1"}


def test_home_before_or_after_the_command(example: Path, tmp_path: Path) -> None:
    for arguments in (["--home", str(tmp_path / "a"), "show", "views"], ["show", "views", "--home", str(tmp_path / "a")]):
        assert "no views yet" in run(*arguments).stdout
    with FeatureStore(home=example / ".featurestore") as store:
        assert as_json("--home", str(example / ".featurestore"), "show", "views") == store.views()
