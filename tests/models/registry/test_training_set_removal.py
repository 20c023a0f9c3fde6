"""A training set that a model was trained on is not removed, also if the model is logged while it is being removed."""

from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from featurestore import models
from featurestore.errors import Conflict
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


def build(world: World, name: str) -> Any:
    training_set = world.training_set
    return world.store.training_set("churn", worlds.spine(), training_set.timestamp, training_set.label, name=name)


def test_one_that_a_model_was_trained_on_is_kept(world: World, logged: Any) -> None:
    with pytest.raises(Conflict, match=rf"training set {world.training_set.id} cannot be removed: .* trained on it, ") as raised:
        world.store.remove_training_set(world.training_set.id)
    assert "churn/1" in raised.value.details["models"], "the message names the first few only"
    only_logged = build(world, "only_logged")
    models.log_model(world.model, training_set=only_logged, name="only_logged")
    with pytest.raises(Conflict, match=r"models were trained on it, .*: only_logged"):
        world.store.remove_training_set(only_logged.id, dry_run=True)


@pytest.mark.slow
def test_a_model_that_is_logged_meanwhile_keeps_it(world: World, logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raced = build(world, "removal_raced")
    pinned = sum(snapshot is not None for snapshot in raced.snapshots.values())
    count = 0
    commit = SqlCatalog.commit_table

    def interfere(catalog: SqlCatalog, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == pinned + 1:
            # The commit that removes its tag, after the models were looked at.
            models.log_model(world.model, training_set=raced, name="removal_raced", registered_model_name="removal_raced")
        return commit(catalog, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", interfere)
        with pytest.raises(Conflict, match=r"models were trained on it, .*: removal_raced/1"):
            world.store.remove_training_set(raced.id)
    assert world.store.rebuild(raced.id).digest == raced.digest
    assert world.store.rebuild("models:/removal_raced/1").digest == raced.digest
