"""A client is told who has the lease of what it asked for."""

from datetime import timedelta

import pytest

from featurestore import FeatureStore, connect
from featurestore.errors import LeaseHeld, RequestError
from featurestore.records.leases import Leases
from tests import shop

NO_WAIT = timedelta(0)


def test_a_lease_of_another_process_is_told_to_clients(own_shop: FeatureStore) -> None:
    with (
        shop.serving(own_shop, jobs=True) as url,
        connect(url) as remote,
        FeatureStore(settings=own_shop.settings) as other,
        Leases(other.backend.runtime, 0) as held,
    ):
        held.take("features.customer_orders_v1")
        runs = remote.materialize(failures="return", wait=NO_WAIT)
        assert [run.view for run in runs] == ["customer_profile"]
        assert [type(failure.error) for failure in runs.failures] == [LeaseHeld]
        with pytest.raises(LeaseHeld, match=r"the lease of features\.customer_orders_v1: process \d+ on "):
            remote.materialize("customer_orders", wait=NO_WAIT)
        held.release("features.customer_orders_v1")
        held.take("maintenance")
        with pytest.raises(LeaseHeld, match="the lease of maintenance"):
            remote.maintain(wait=NO_WAIT)
        assert remote.maintain(dry_run=True, wait=NO_WAIT)
        for wrong in (timedelta(days=2), timedelta(seconds=-1), 10):
            with pytest.raises(RequestError, match="wait"):
                remote.materialize(wait=wrong)  # type: ignore[arg-type]
        assert len(remote.materialize(wait=NO_WAIT)) == 2
