"""Data of an earlier version are readable: identical training sets, definitions without new versions, lookups, and the next run."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from datetime import timedelta

import pytest

from featurestore import FeatureStore
from featurestore.errors import NotReady
from tests.stored import home


@pytest.fixture
def kept() -> Iterator[FeatureStore]:
    """The kept folder where it was made. One test alone uses it: there is one such place."""
    # Left by a run that was killed.
    shutil.rmtree(home.HOME, ignore_errors=True)
    with tarfile.open(home.KEPT) as archive:
        archive.extractall(home.HOME, filter="data")
    try:
        with FeatureStore(home=home.HOME) as store:
            yield store
    finally:
        shutil.rmtree(home.HOME)


@pytest.mark.slow
def test_a_home_of_before(kept: FeatureStore) -> None:
    expected = json.loads(home.EXPECTED.read_text())
    assert {view["name"]: view["fingerprint"] for view in kept.views()} == expected["fingerprints"]
    assert not kept.plan(home.DEFINITIONS).changed
    # The online store may have another form in any release; it is filled again from the tables.
    with pytest.raises(NotReady, match="featurestore materialize"):
        home.online(kept)
    kept.publish()
    assert home.online(kept) == expected["online"]
    assert not any(view["differences"] for view in kept.verify_online())
    made = kept.get_training_set(expected["id"])
    assert made.to_arrow().num_rows == expected["training_rows"]
    assert kept.rebuild(made.id).manifest["digest"] == made.manifest["digest"] == expected["digest"]
    # It goes on from there: what comes next, upkeep, and the training set once more.
    kept.catalog.load_table("kept.visits").append(home.visit_rows(range(45, 50)))
    kept.materialize(end=home.START + timedelta(days=51))
    assert home.online(kept) != expected["online"]
    kept.maintain(older_than=timedelta(0))
    assert kept.rebuild(made.id).manifest["digest"] == expected["digest"]
