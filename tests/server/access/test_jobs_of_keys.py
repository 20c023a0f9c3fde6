"""A job runs with the rights of whoever asked for it, as they are when it begins."""

import pytest

from featurestore import FeatureStore, connect
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import jobs_path
from tests import shop
from tests.server.conftest import serve

pytestmark = pytest.mark.slow


def test_the_job_of_a_revoked_key_does_not_begin(own_shop: FeatureStore) -> None:
    first, second = (own_shop.create_key("her", administrator=True) for _ in range(2))
    with serve(own_shop) as served:
        headers = {"Authorization": f"Bearer {first.token}"}
        started = served.http.post("/v1/publications", json={}, headers=headers)
        assert started.status_code == 202, started.text
        own_shop.revoke_key(first.key.id)
        with shop.working(own_shop):
            url, other = started.json()["url"], {"Authorization": f"Bearer {second.token}"}
            state = served.http.get(f"{url}?wait=60", headers=other).json()
            assert (state["state"], state["error"]["type"]) == ("failed", "Forbidden")
            assert first.key.id in state["error"]["message"]
            with connect(served.url, token=second.token) as her:
                her.publish()


def test_a_job_of_nobody_runs(own_shop: FeatureStore) -> None:
    jobs = Jobs(jobs_path(own_shop.settings))
    with shop.working(own_shop), serve(own_shop) as served:
        jobs.start("publication-0", "publication", {"names": None, "full": False})
        assert served.http.get("/v1/publications/publication-0?wait=60").json()["state"] == "done"
    jobs.close()
