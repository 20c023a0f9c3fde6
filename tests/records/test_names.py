"""Names of views and services: given as names, or as the definitions themselves."""

from typing import Any

import pytest

from featurestore.errors import RequestError
from featurestore.records.names import service_name, view_name, view_names
from tests import shop


def test_a_definition_stands_for_its_name() -> None:
    assert (view_name("v"), view_name(shop.customer_orders), service_name(shop.churn)) == ("v", "customer_orders", "churn")
    assert view_names(shop.customer_orders) == ["customer_orders"]
    assert view_names(["v", shop.customer_profile]) == ["v", "customer_profile"]
    assert (view_names(None), view_names("v"), view_names([])) == (None, ["v"], [])


@pytest.mark.parametrize("value", [5, b"v", shop.churn, None])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match="view must be a name or a FeatureView"):
        view_name(value)
    with pytest.raises(RequestError, match="names: view must be a name or a FeatureView"):
        view_names([value])
