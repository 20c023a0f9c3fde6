"""Promotions and audits over HTTP, by the client of a real server."""

from pathlib import Path

import pytest

from featurestore import connect, models
from featurestore.errors import Conflict, NotFound, RequestError
from tests import shop
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = [*([VENDOR_WARNINGS] if not isinstance(VENDOR_WARNINGS, list) else VENDOR_WARNINGS), pytest.mark.slow]


def test_promotions_and_audits(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "served", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for auc in (0.7, 0.8):
        models.log_model(made.model, training_set=made.training_set, registered_model_name="churn", metrics={"auc": auc}, store=made.store)
    with made.store, shop.serving(made.store) as url, connect(url) as remote:
        assert remote.promote("churn", 1, approver="ann").version == "1"
        with pytest.raises(Conflict, match="is not met"):
            remote.promote("churn", 2, approver="bob", require="auc > champion.auc + 0.5")
        with pytest.raises(RequestError, match="require"):
            remote.promote("churn", 2, approver="bob", require="__import__('os')")
        assert remote.promote("churn", 2, approver="bob", require="auc > champion.auc").used["champion.auc"] == 0.7
        assert remote.rollback("churn", approver="bob").version == "1"
        assert remote.archive("churn", 2, approver="bob").changed
        report = remote.audit("models:/churn@champion")
        assert report.broken == ()
        assert [link.title for link in report.links] == [link.title for link in made.store.audit("models:/churn@champion").links]
        assert remote.demote("churn", approver="bob").before == "1"
        with pytest.raises(NotFound):
            remote.audit("models:/churn@champion")
        with pytest.raises(RequestError, match="registered models"):
            remote.audit("runs:/x/y")
