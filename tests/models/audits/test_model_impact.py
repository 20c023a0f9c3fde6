"""Models and logged predictions that depend on a source column."""

from typing import Any

from featurestore import models
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


def test_a_column_leads_to_models_and_their_predictions(world: World, logged: Any) -> None:
    info = models.log_model(world.model, training_set=world.training_set, name="depending", registered_model_name="depending")
    version = str(info.registered_model_version)
    models.score(f"models:/depending/{version}", worlds.spine(5, label=False), log=True, store=world.store)
    report = world.store.impact("shop.orders", "amount")
    affected = {(model.model, model.version): dict(model.features) for model in report.models}
    assert affected["churn", "1"] == affected["depending", version]
    assert affected["churn", "1"] == {"o_spend_30d": "direct", "o_mean": "direct", "basket_vs_spend": "direct"}
    assert [
        (prediction.table, prediction.version, prediction.rows) for prediction in report.predictions if prediction.model == "depending"
    ] == [("inference.depending", version, 5)]
    down = world.store.lineage("shop.orders.amount", "down")
    trained = {f"models:/{model}/{number}" for model, number in affected if number is not None}
    assert trained <= down.dependences("model").keys()
    assert {"models:/churn/1", f"models:/depending/{version}"} <= trained
    assert world.store.lineage(f"models:/depending/{version}", "up").dependences("column")["shop.orders.amount"] == "direct"
    assert world.store.impact("shop.profiles", "vat").predictions == report.predictions
