"""The routes of models for somebody with exactly the privilege that they name; what they allow asks MLflow."""

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow

import pytest

from featurestore import FeatureStore
from featurestore.access.privileges import Kind, Privilege
from featurestore.errors import NotFound
from tests.server.access.test_routes import Call, Keyed, check_privilege, keyed, parameters

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

__all__ = ["keyed"]


@pytest.mark.parametrize("call", parameters(lambda call: call.needs.kind is Kind.MODEL))
def test_a_privilege_is_enough(keyed: Keyed, call: Call) -> None:
    check_privilege(keyed, call)


@pytest.mark.parametrize("call", parameters(lambda call: call.needs.privilege is Privilege.APPROVE_MODEL))
def test_an_owner_may_approve(keyed: Keyed, call: Call) -> None:
    check_privilege(keyed, call, "OWN")


def test_a_split_is_set_with_the_privilege_to_approve(own_shop: FeatureStore) -> None:
    own_shop.grant("APPROVE_MODEL", "MODEL churn", "USER him")
    with pytest.raises(NotFound):
        own_shop.as_principal("him").set_traffic("churn", {"champion": 100})
