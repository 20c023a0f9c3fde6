"""Whether a delivery of a webhook was signed by MLflow, is recent, and is the first with its id."""

import base64
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException

ID, TIMESTAMP, SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
"""MLflow's headers of a delivery: a UUID, seconds since 1970, and `v1,` with the signature in Base64."""
VERSION = b"v1,"
OLDEST_SECONDS = 300
"""Older deliveries are refused; MLflow advises these five minutes."""
AHEAD_SECONDS = 60
"""By how much MLflow's clock may be ahead of ours."""
MOST_IDS = 10_000
"""Ids of accepted deliveries that are remembered, which are those of the last minutes: older ones are refused anyway."""

# Without the dots that separate the parts of what is signed: otherwise a signed delivery could be divided into other parts.
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Delivery:
    """A verified delivery: its id, and when MLflow signed it, in seconds since 1970."""

    id: str
    signed_at: int


class WebhookSignatures:
    """Verifies deliveries with the secret that MLflow's webhook has too."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret.encode(), clock
        self._accepted: OrderedDict[str, int] = OrderedDict()

    def verify(self, headers: Mapping[str, str], content: bytes) -> Delivery:
        """The delivery with these headers and this body. Raises: HTTPException 401."""
        id, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
        signature = headers.get(SIGNATURE, "").encode("latin-1")
        signed = f"{id}.{timestamp}.".encode("latin-1") + content
        expected = VERSION + base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256))
        is_signed = hmac.compare_digest(signature, expected)
        if not (is_signed and _ID.fullmatch(id) and _TIMESTAMP.fullmatch(timestamp)):
            raise HTTPException(
                401, "the signature is missing or wrong; the webhook in MLflow needs the same secret as the setting mlflow_webhook_secret"
            )
        delivery = Delivery(id, int(timestamp))
        age = self._clock() - delivery.signed_at
        if age > OLDEST_SECONDS:
            raise HTTPException(401, f"the delivery was signed more than {OLDEST_SECONDS // 60} minutes ago, by the clock of this server")
        if age < -AHEAD_SECONDS:
            raise HTTPException(401, "the delivery was signed in the future, by the clock of this server; set the clocks of both machines")
        return delivery

    def accept(self, delivery: Delivery) -> bool:
        """Remember a delivery; False if it has been accepted before, as MLflow sends one again whose answer was lost."""
        if delivery.id in self._accepted:
            return False
        self._accepted[delivery.id] = delivery.signed_at
        oldest = self._clock() - OLDEST_SECONDS
        while len(self._accepted) > MOST_IDS or next(iter(self._accepted.values())) < oldest:
            self._accepted.popitem(last=False)
        return True
