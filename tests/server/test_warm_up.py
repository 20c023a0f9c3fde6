"""A server says that it is ready when its services and models are loaded, in all of its processes."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.errors import NotReady
from featurestore.server import warm_up
from featurestore.server.metrics import SHARED_FOLDER
from featurestore.server.models.predictor import Predictor
from featurestore.server.warm_up import WarmUp
from tests.server.conftest import serve
from tests.server.test_errors import error_of


class Loading:
    """Loads models for as long as the test wants."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def load(self, stopped: Callable[[], bool]) -> None:
        """Load."""
        self.begun.set()
        assert self.released.wait(30)


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    """A load that a probe does not wait for."""
    monkeypatch.setattr(warm_up, "ASK_SECONDS", 0.05)
    found = Loading()
    yield found
    found.released.set()


def test_a_probe_says_so_until_models_are_loaded(own_shop: FeatureStore, loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "load_aliased", lambda _, stopped: loading.load(stopped))
    with serve(own_shop) as served:
        assert loading.begun.wait(30)
        error = error_of(served.http.get("/readyz"), 503, "NotReady")
        assert error["message"] == "the server is loading services and models; try again in a moment"
        assert error["details"]["parts"]["catalog"] == "ok"
        assert served.http.get("/healthz").is_success
        assert served.http.post("/v1/services/plain/online", json={"entities": [{"customer_id": 1}]}).is_success
        loading.released.set()
        monkeypatch.setattr(warm_up, "ASK_SECONDS", 30)
        assert served.http.get("/readyz").is_success


def test_plans_of_services_are_in_memory(own_shop: FeatureStore, loading: Loading) -> None:
    assert own_shop.backend.cached_plan("plain") is None
    warm = WarmUp(own_shop, loading.load)
    warm.start()
    assert loading.begun.wait(30)
    assert not warm.is_over()
    assert own_shop.backend.cached_plan("plain") is not None
    assert own_shop.backend.cached_plan("churn") is not None
    loading.released.set()
    warm.stop()
    assert warm.is_over()


def test_what_does_not_end_is_not_waited_for(own_shop: FeatureStore, loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = WarmUp(own_shop, loading.load)
    warm.start()
    assert not warm.is_over()
    monkeypatch.setattr(warm_up, "SECONDS", 0)
    assert warm.is_over()
    loading.released.set()
    warm.stop()


def test_all_processes_have_to_be_warm(own_shop: FeatureStore, loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_FOLDER, str(tmp_path))
    settings = own_shop.settings.model_copy(update={"workers": 2})
    with FeatureStore(settings=settings) as store:
        warm = WarmUp(store, loading.load)
        loading.released.set()
        monkeypatch.setattr(warm_up, "ASK_SECONDS", 30)
        warm.start()
        assert not warm.is_over()
        (mark,) = tmp_path.iterdir()
        mark.with_name(f"{mark.name}0").touch()
        assert warm.is_over()
        warm.stop()


def test_a_service_that_cannot_be_loaded_keeps_no_other(
    own_shop: FeatureStore, loading: Loading, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services = own_shop.backend.services
    load = services.current

    def fail(name: str) -> object:
        if name == "churn":
            raise NotReady("the online store has lost it")
        return load(name)

    monkeypatch.setattr(services, "current", fail)
    loading.released.set()
    monkeypatch.setattr(warm_up, "ASK_SECONDS", 30)
    warm = WarmUp(own_shop, loading.load)
    warm.start()
    assert warm.is_over()
    warm.stop()
    assert own_shop.backend.cached_plan("plain") is not None
    assert "service churn is not loaded ahead of its first request" in caplog.text
