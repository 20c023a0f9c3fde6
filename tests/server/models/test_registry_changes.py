"""Looks that follow notices run one at a time; deliveries are remembered within bounds."""

import threading
from collections.abc import Collection
from pathlib import Path
from queue import Queue

import pytest
from starlette.exceptions import HTTPException

from featurestore import Settings
from featurestore.errors import NotReady, RequestError
from featurestore.records.runtime import Runtime
from featurestore.server.models import webhook_signature
from featurestore.server.models.registry_changes import RegistryChanges
from featurestore.server.models.webhook_signature import Delivery, WebhookSignatures
from featurestore.settings import load_settings

PATIENCE_SECONDS = 30
SECRET = "the-secret-of-the-webhook"


class Looks:
    """Looks that a test begins and ends, each with what it raises."""

    def __init__(self, folder: Path) -> None:
        self.begun: Queue[Collection[str]] = Queue()
        self.ends: Queue[Exception | None] = Queue()
        self.running, self.most = 0, 0
        self.runtime = Runtime(Settings(home=folder, mlflow_tracking_uri="sqlite:///none.db"), look=self._look)

    def _look(self, brief: bool, changed: Collection[str]) -> None:
        assert not brief
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.put(changed)
        error = self.ends.get(timeout=PATIENCE_SECONDS)
        self.running -= 1
        if error is not None:
            raise error


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return Looks(tmp_path)


def test_notices_during_a_look_lead_to_one_more(looks: Looks) -> None:
    changes = RegistryChanges(looks.runtime)
    changes.start()
    changes.notice("first")
    assert looks.begun.get(timeout=PATIENCE_SECONDS) == {"first"}
    noticing = [threading.Thread(target=changes.notice, args=(name,)) for name in ("a", "b", "a", "c")]
    for thread in noticing:
        thread.start()
    for thread in noticing:
        thread.join()
    assert looks.begun.empty()
    looks.ends.put(None)
    assert looks.begun.get(timeout=PATIENCE_SECONDS) == {"a", "b", "c"}
    assert not changes._noticed.is_set()
    looks.ends.put(None)
    changes.notice("last")
    assert looks.begun.get(timeout=PATIENCE_SECONDS) == {"last"}
    looks.ends.put(None)
    changes.stop()
    assert not changes._thread.is_alive()
    assert looks.begun.empty()
    assert looks.most == 1


@pytest.mark.parametrize("error", [NotReady("MLflow does not respond"), RuntimeError("a bug")])
def test_a_look_that_fails_is_logged_and_the_next_notice_looks_again(
    looks: Looks, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    changes = RegistryChanges(looks.runtime)
    changes.start()
    for name, end in (("first", error), ("second", None)):
        changes.notice(name)
        assert looks.begun.get(timeout=PATIENCE_SECONDS) == {name}
        looks.ends.put(end)
    changes.stop()
    assert "what changed in MLflow is recorded at the next look" in caplog.text
    assert str(error) in caplog.text


def test_accepted_deliveries_are_forgotten_when_they_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    signatures = WebhookSignatures(SECRET, clock=lambda: now)
    assert [signatures.accept(Delivery("a", int(now) - age)) for age in (0, 0)] == [True, False]
    now += webhook_signature.OLDEST_SECONDS
    assert not signatures.accept(Delivery("a", int(now)))
    now += 1
    assert signatures.accept(Delivery("b", int(now)))
    assert list(signatures._accepted) == ["b"]
    monkeypatch.setattr(webhook_signature, "MOST_IDS", 3)
    assert all(signatures.accept(Delivery(str(number), int(now))) for number in range(10))
    assert list(signatures._accepted) == ["7", "8", "9"]


def test_the_bounds_of_a_deliverys_time() -> None:
    now = 1_800_000_000.0
    signatures = WebhookSignatures(SECRET, clock=lambda: now)
    # Computed with `openssl dgst -sha256 -hmac the-secret-of-the-webhook -binary | base64` from d-1.1800000000.{}
    headers = {
        "X-MLflow-Delivery-Id": "d-1",
        "X-MLflow-Timestamp": "1800000000",
        "X-MLflow-Signature": "v1,0RmMgkWHmvFHIoD1lFtuy3CPrpWl+PjRd/GAFT/JcL8=",
    }
    for offset in (0.0, 300.0, -60.0):
        now = 1_800_000_000.0 + offset
        assert signatures.verify(headers, b"{}") == Delivery("d-1", 1_800_000_000)
    for offset, words in ((300.1, "5 minutes ago"), (-60.1, "set the clocks")):
        now = 1_800_000_000.0 + offset
        with pytest.raises(HTTPException) as refused:
            signatures.verify(headers, b"{}")
        assert refused.value.status_code == 401
        assert words in refused.value.detail


@pytest.mark.parametrize("secret", ["", " ", "fifteen-letters", " " * 20, "short" + " " * 20])
def test_a_secret_that_can_be_guessed_is_refused(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_MLFLOW_WEBHOOK_SECRET", secret)
    with pytest.raises(RequestError, match=r"mlflow_webhook_secret: .* 16 characters"):
        load_settings()


def test_the_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_MLFLOW_WEBHOOK_SECRET", SECRET)
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {NotReady(f'a library says {SECRET}')}"
    assert SECRET not in shown
    assert settings.mlflow_webhook_secret is not None
    assert settings.mlflow_webhook_secret.reveal() == SECRET
