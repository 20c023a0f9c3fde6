"""The tags of a build that ends while it sets them."""

import pytest

from featurestore import FeatureStore
from featurestore.errors import CommitUnknown
from featurestore.lakehouse import tags
from featurestore.records.stored_sets import TAG
from tests import shop


@pytest.mark.parametrize("count", [1, 2])
def test_a_tag_whose_commit_has_an_unknown_outcome_is_removed(own_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """It protects nothing: no training set can have been written before all tags were set."""
    set_tag, calls = tags.set_tag, list[str]()

    def interrupted(*arguments: object) -> bool:
        new = set_tag(*arguments)  # type: ignore[arg-type]
        calls.append(str(arguments[1]))
        if len(calls) == count:
            raise CommitUnknown("the response to the commit was lost")
        return new

    monkeypatch.setattr(tags, "set_tag", interrupted)
    with pytest.raises(CommitUnknown):
        own_shop.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
    assert len(calls) == count
    tables = [own_shop.catalog.load_table(str(view["table"])) for view in own_shop.views()]
    assert [name for table in tables for name in table.refs() if name.startswith(TAG)] == []
    monkeypatch.undo()
    made = own_shop.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
    assert made.id == calls[0].removeprefix(TAG)
