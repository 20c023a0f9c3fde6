"""Audits: a whole chain is verified, and each link that is broken behind the store's back is named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurestore import models
from featurestore.cli.audit_page import audit_page
from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import maintenance, tables
from featurestore.models.datasets.dataset import load_iceberg
from featurestore.models.mlflow_access import tracking
from featurestore.pipelines.lineage.audit_result import Audit, Link
from featurestore.values import times
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose parts the tests break, and mend again."""
    made = worlds.build(tmp_path_factory.mktemp("audited"))
    with made.store:
        yield made


@pytest.fixture
def audited(own: World) -> World:
    """The world with version 1 of `audited`, promoted, with predictions."""
    if not any(model.model == "audited" for model in own.store.models()):
        models.log_model(own.model, training_set=own.training_set, name="audited", registered_model_name="audited", metrics={"auc": 0.75})
        models.promote("audited", 1, approver="ann", reason="better", store=own.store)
        models.score("models:/audited/1", worlds.spine(7, label=False), log=True, store=own.store)
    return own


def links(found: Audit, kind: str) -> list[Link]:
    return [link for link in found.links if link.kind == kind]


def broken(world: World, uri: str = "models:/audited@champion", deep: bool = False) -> dict[str, str]:
    """The problems of the broken links of an audit, by their titles."""
    report = world.store.audit(uri, deep)
    problems = {link.title: "; ".join(link.problems) for link in report.links if link.problems}
    assert report.broken == tuple(problems)
    return problems


def test_a_whole_chain(audited: World) -> None:
    report = audited.store.audit("models:/audited@champion", deep=True)
    assert report.broken == ()
    kinds = [link.kind for link in report.links]
    assert kinds == ["source", "source", "view", "view", "training set", "run", "model", "alias", "predictions"]
    assert all(link.verified for link in report.links)
    (alias,) = links(report, "alias")
    assert alias.facts["approver"] == "ann"
    assert alias.facts["history"][0]["reason"] == "better"
    (predictions,) = links(report, "predictions")
    assert predictions.facts["rows"] == 7
    orders = next(link for link in links(report, "view") if link.name == "customer_orders_v1")
    assert "CREATE TEMP TABLE" in orders.facts["sql"]
    assert "computed again" in links(report, "training set")[0].verified[0]
    assert Audit.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_data_that_was_logged_beside_the_training_set(audited: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(audited.home))
    tracking.use_tracking(audited.store.settings)
    profiles = audited.store.catalog.load_table("shop.profiles").current_snapshot()
    assert profiles is not None
    with mlflow.start_run():
        mlflow.log_input(load_iceberg("shop.orders"), context="raw")
        mlflow.log_input(mlflow.data.from_numpy(np.zeros(1), source="http://localhost/elsewhere.csv"), context="other")
        mlflow.log_params({"profiles_table": "shop.profiles", "profiles_snapshot": profiles.snapshot_id})
        mlflow.log_params({"path": "no.table@1", "a_table": "x.y"})
        mlflow.log_param("gone", f"shop.profiles@{profiles.snapshot_id + 1}")
        models.log_model(audited.model, training_set=audited.training_set, registered_model_name="beside")
    links_by_name = {link.name: link for link in links(audited.store.audit("models:/beside/1"), "dataset")}
    orders, known, gone = links_by_name.values()
    assert (orders.name.partition("@")[0], orders.facts["logged"]) == ("shop.orders", [f"dataset {orders.name} as raw"])
    assert (known.name, known.facts["logged"]) == (f"shop.profiles@{profiles.snapshot_id}", ["parameter profiles_table"])
    assert orders.verified == known.verified == ("the catalog has this snapshot, with all files",)
    assert gone.problems == (f"snapshot {profiles.snapshot_id + 1} of shop.profiles has expired",)


def test_a_version_without_an_alias(audited: World) -> None:
    models.log_model(audited.model, training_set=audited.training_set, registered_model_name="plain")
    report = audited.store.audit("models:/plain/1")
    assert report.broken == ()
    assert not links(report, "alias")
    with pytest.raises(NotFound, match="audited"):
        audited.store.audit("models:/auditde/1")


def test_an_alias_moved_elsewhere(audited: World) -> None:
    models.log_model(audited.model, training_set=audited.training_set, registered_model_name="moved")
    models.promote("moved", 1, approver="ann", store=audited.store)
    models.log_model(audited.model, training_set=audited.training_set, registered_model_name="moved")
    mlflow.MlflowClient().set_registered_model_alias("moved", "champion", "2")
    (problem,) = broken(audited, "models:/moved@champion").items()
    assert problem[0] == "alias champion"
    assert "moved to version 2 through MLflow itself" in problem[1]
    assert broken(audited, "models:/moved/1") == {}


def test_a_deleted_run(audited: World) -> None:
    info = models.log_model(audited.model, training_set=audited.training_set, registered_model_name="runless")
    mlflow.MlflowClient().delete_run(info.run_id)
    assert "does not exist in MLflow any more" in broken(audited, "models:/runless/1")[f"run {info.run_id}"]
    mlflow.MlflowClient().restore_run(info.run_id)
    assert broken(audited, "models:/runless/1") == {}


def test_an_edited_stamp(audited: World) -> None:
    info = models.log_model(audited.model, training_set=audited.training_set, registered_model_name="edited")
    path = artifacts(info) / "featurestore" / "stamp.json"
    document = json.loads(path.read_text())
    document["digest"] = "0" * 64
    path.write_text(json.dumps(document))
    problems = broken(audited, "models:/edited/1")
    assert "its digest is 0000" in problems["model edited/1"]
    assert f"training set {audited.training_set.id}" in problems
    document["digest"] = audited.training_set.digest
    document["views"]["customer_orders_v1"]["snapshot_id"] = "12345"
    path.write_text(json.dumps(document))
    problems = broken(audited, "models:/edited/1")
    assert "other snapshots than registry.models" in problems["model edited/1"]
    assert "snapshot 12345 of features.customer_orders_v1 has expired" in problems["view customer_orders_v1"]


def test_a_swapped_model_file(audited: World) -> None:
    info = models.log_model(audited.model, training_set=audited.training_set, registered_model_name="swapped")
    path = next(path for path in artifacts(info).iterdir() if path.name.startswith("model."))
    path.write_bytes(path.read_bytes() + b"x")
    assert f"file {path.name} has other content" in broken(audited, "models:/swapped/1")["model swapped/1"]
    with pytest.raises(Conflict, match="has other content"):
        models.promote("swapped", 1, approver="ann", store=audited.store)


def test_edited_tags(audited: World) -> None:
    models.log_model(audited.model, training_set=audited.training_set, registered_model_name="tagged")
    for tag in ("digest", "training_set"):
        mlflow.MlflowClient().set_model_version_tag("tagged", "1", f"featurestore.{tag}", "other")
        # The training set is that of the stamp, whatever the tags say.
        problems = broken(audited, "models:/tagged/1")
        assert set(problems) == {"model tagged/1"}
        assert (
            f"{tag} is {getattr(audited.training_set, tag.replace('training_set', 'id'))}, but other in the tags of the version"
            in (problems["model tagged/1"])
        )


def test_a_lost_file_of_a_pinned_snapshot(audited: World) -> None:
    table = audited.store.catalog.load_table("features.customer_profile_v1")
    path = Path(next(iter(table.scan().plan_files())).file.file_path.removeprefix("file://"))
    kept = path.with_suffix(".kept")
    path.rename(kept)
    try:
        assert "lacks 1 files" in broken(audited)["view customer_profile_v1"]
        assert set(broken(audited, deep=True)) >= {"view customer_profile_v1", f"training set {audited.training_set.id}"}
        with pytest.raises(Conflict, match=r"view customer_profile_v1: snapshot \d+ of features.customer_profile_v1 lacks 1 files"):
            models.promote("audited", 1, alias="challenger", approver="ann", store=audited.store)
    finally:
        kept.rename(path)


def test_a_view_version_removed_behind_the_stores_back(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "gone")
    with made.store:
        models.log_model(made.model, training_set=made.training_set, registered_model_name="orphan")
        made.store.catalog.drop_table("features.customer_profile_v1")
        gone = r"no table features\.customer_profile_v1"
        for at in (None, "online"):
            with pytest.raises(Conflict, match=gone):
                models.score("models:/orphan/1", worlds.spine(3, label=False), at=at, store=made.store)
        with pytest.raises(Conflict, match=gone):
            models.score("models:/orphan/1", worlds.spine(3, label=False), save=True, store=made.store)
        with pytest.raises(Conflict, match="customer_profile_v1"):
            models.promote("orphan", 1, approver="ann", store=made.store)
        assert (
            "the table features.customer_profile_v1 does not exist any more" in broken(made, "models:/orphan/1")["view customer_profile_v1"]
        )


def test_expired_snapshots(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "expired")
    with made.store:
        models.log_model(made.model, training_set=made.training_set, registered_model_name="expired")
        orders = made.store.catalog.load_table("shop.orders")
        (first,) = (snapshot.snapshot_id for snapshot in orders.snapshots())
        orders.append(orders.scan().to_arrow().slice(0, 1))
        maintenance.expire_snapshots(tables.load(made.store.catalog, "shop.orders"), times.moment(times.now()))
        problems = broken(made, "models:/expired/1")
        assert set(problems) == {"source shop.orders"}
        assert f"snapshot {first} of shop.orders has expired" in problems["source shop.orders"]


def test_the_page_is_one_file_with_everything_escaped() -> None:
    hostile = "<script>alert('x')</script>"
    chain = (
        Link("source", "raw.t", {"snapshots": ["1"]}, ("exists",)),
        Link("view", hostile, {"sql": f"SELECT '{hostile}'", "commit": hostile}, (hostile,), (hostile,)),
        Link("predictions", "inference.x", {"ranges": [{"rows": 1, hostile: hostile}]}),
    )
    page = audit_page(Audit(f"models:/{hostile}/1", hostile, None, times.moment(0), True, chain, (f"view {hostile}",)))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert "1 of 3 links are broken" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def artifacts(info: Any) -> Path:
    """The folder in which MLflow keeps the files of a model."""
    return Path(str(mlflow.MlflowClient().get_logged_model(info.model_id).artifact_location).removeprefix("file://"))
