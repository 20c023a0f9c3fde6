"""Tokens of OpenID Connect, with an issuer that answers over HTTP."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from featurestore import FeatureStore, Settings
from featurestore.access.principal import Principal
from featurestore.errors import NotReady, RequestError, Unauthorized
from featurestore.server.access import issuer_keys
from featurestore.server.access.oidc import LEEWAY_SECONDS, IdentityTokens
from tests.server.conftest import serve

AUDIENCE = "featurestore"
RSA, OTHER_RSA = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """An issuer on this machine: what it answers, and how often it was asked for its keys."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [jwk("rsa", RSA), jwk("ec", EC)]
        self.status, self.asked = 200, 0
        self.configuration: dict[str, Any] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_keys = self.path == "/keys"
                issuer.asked += is_keys
                content = json.dumps({"keys": issuer.keys} if is_keys else issuer.configuration).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}


def jwk(id: str, key: Any) -> dict[str, Any]:
    """The public key as an issuer publishes it."""
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": id, "use": "sig"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer that runs."""
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield issuer
    issuer.server.shutdown()
    thread.join()
    issuer.server.server_close()


def settings_of(issuer: Issuer, **more: Any) -> Settings:
    """The settings of a server that accepts its tokens."""
    return Settings(**{"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_administrators": ["platform"], **more})


def identities(issuer: Issuer, **more: Any) -> IdentityTokens:
    """What verifies its tokens."""
    made = IdentityTokens.of(settings_of(issuer, **more))
    assert made is not None
    return made


def claims(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    """The claims of a valid token; None leaves one out."""
    now = int(time.time())
    all_claims = {"iss": issuer.url, "aud": AUDIENCE, "iat": now, "exp": now + 300, "sub": "ada", "groups": ["analysts"], **changed}
    return {name: value for name, value in all_claims.items() if value is not None}


def sign(document: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa") -> str:
    """A token."""
    return jwt.encode(document, key, algorithm, headers={} if kid is None else {"kid": kid})


def encode(content: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_both_algorithms_are_accepted(issuer: Issuer) -> None:
    known = identities(issuer)
    assert known.verify(sign(claims(issuer))) == Principal("ada", frozenset({"analysts"}))
    assert known.verify(sign(claims(issuer, groups="platform"), EC, "ES256", "ec")) == Principal("ada", frozenset({"platform"}), True)
    assert known.verify(sign(claims(issuer, groups=None))).groups == frozenset()
    assert issuer.asked == 1, "the keys are kept"


def test_groups_come_from_the_claim_of_the_settings(issuer: Issuer) -> None:
    known = identities(issuer, oidc_groups_claim="https://example.com/roles")
    assert known.verify(sign(claims(issuer, **{"https://example.com/roles": ["platform"]}))).is_administrator
    assert not known.verify(sign(claims(issuer, groups=["platform"]))).is_administrator


WRONG = [
    {"iss": "https://elsewhere.example"},
    {"aud": "another program"},
    {"exp": 1},
    {"iat": 4_000_000_000},
    {"nbf": 4_000_000_000},
    {"sub": ""},
    {"sub": "a\nb"},
    {"sub": "local"},
    {"sub": "token"},
    {"sub": 3},
    {"groups": {"a": 1}},
    {"groups": [1]},
    *({name: None} for name in ("iss", "aud", "exp", "iat", "sub")),
]


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_wrong_claims_are_refused(issuer: Issuer, changed: dict[str, Any]) -> None:
    known = identities(issuer)
    token = sign(claims(issuer, **changed))
    for _ in range(2):
        with pytest.raises(Unauthorized):
            known.verify(token)
        assert known.find(token) is None


def test_forged_tokens_are_refused(issuer: Issuer) -> None:
    known, valid = identities(issuer), claims(issuer)
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, body, signature = sign(valid).split(".")
    other_body = sign(claims(issuer, sub="root")).split(".")[1]
    none, symmetric = (encode(json.dumps({"alg": algorithm, "kid": "rsa"}).encode()) for algorithm in ("none", "HS256"))
    by_public_key = encode(hmac.digest(public, f"{symmetric}.{body}".encode(), "sha256"))
    for token in (
        sign(valid, OTHER_RSA),
        sign(valid, RSA, "RS256", "ec"),
        sign(valid, EC, "ES256", "rsa"),
        sign(valid, RSA, "RS512"),
        sign(valid, RSA, "PS256"),
        f"{symmetric}.{body}.{by_public_key}",
        sign(valid, kid=None),
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{header}.{other_body}.{signature}",
        f"{header}.{body}.",
        "a.b.c",
        "",
        "x" * 20_000,
    ):
        with pytest.raises(Unauthorized):
            known.verify(token)
        assert known.find(token) is None


def test_a_verified_token_is_kept_until_it_expires(issuer: Issuer) -> None:
    now = [time.time()]
    known = IdentityTokens(settings_of(issuer), issuer.url, AUDIENCE, lambda: now[0])
    document = claims(issuer)
    token = sign(document)
    assert known.find(token) is None
    known.verify(token)
    now[0] = document["exp"] + LEEWAY_SECONDS - 1
    assert known.find(token) is not None
    now[0] += 1
    assert known.find(token) is None


def test_a_new_key_is_fetched_and_unknown_ones_do_not_flood_the_issuer(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    known = identities(issuer)
    known.verify(sign(claims(issuer)))
    issuer.keys = [jwk("next", OTHER_RSA)]
    token = sign(claims(issuer), OTHER_RSA, kid="next")
    for number in range(20):
        with pytest.raises(Unauthorized, match="no key of this id"):
            known.verify(sign(claims(issuer), OTHER_RSA, kid=f"unknown-{number}"))
    assert issuer.asked == 1
    monkeypatch.setattr(issuer_keys, "AGAIN_SECONDS", 0.0)
    assert known.verify(token).name == "ada"
    assert issuer.asked == 2
    with pytest.raises(Unauthorized):
        known.verify(sign(claims(issuer, sub="eve")))


def test_an_issuer_that_does_not_respond(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    known = identities(issuer)
    issuer.status = 500
    for _ in range(2):
        with pytest.raises(NotReady):
            known.verify(sign(claims(issuer)))
    issuer.status = 200
    monkeypatch.setattr(issuer_keys, "AGAIN_SECONDS", 0.0)
    known.verify(sign(claims(issuer)))
    issuer.status = 500
    monkeypatch.setattr(issuer_keys, "KEPT_SECONDS", 0.0)
    assert known.verify(sign(claims(issuer, sub="eve"))).name == "eve", "the keys of a day are used meanwhile"
    monkeypatch.setattr(issuer_keys, "STALE_SECONDS", 0.0)
    with pytest.raises(NotReady):
        known.verify(sign(claims(issuer, sub="eva")))


@pytest.mark.parametrize("configuration", [{}, {"issuer": "https://elsewhere.example"}, {"jwks_uri": "http://elsewhere.example/keys"}])
def test_the_configuration_of_another_issuer(issuer: Issuer, configuration: dict[str, str]) -> None:
    issuer.configuration = {**issuer.configuration, **configuration} if configuration else {}
    with pytest.raises(NotReady, match="oidc_jwks_url"):
        identities(issuer).verify(sign(claims(issuer)))
    assert identities(issuer, oidc_jwks_url=f"{issuer.url}/keys").verify(sign(claims(issuer))).name == "ada"


def test_settings_that_do_not_fit() -> None:
    assert IdentityTokens.of(Settings()) is None
    for given, named in (
        ({"oidc_issuer": "https://login.example"}, "oidc_audience"),
        ({"oidc_audience": "x"}, "oidc_issuer"),
        ({"oidc_issuer": "http://login.example", "oidc_audience": "x"}, "https"),
        ({"oidc_issuer": "https://login.example", "oidc_audience": "x", "oidc_jwks_url": "ftp://a/b"}, "oidc_jwks_url"),
    ):
        with pytest.raises(RequestError, match=named):
            IdentityTokens.of(Settings(**given))


def test_a_server(issuer: Issuer, tmp_path: Path) -> None:
    with FeatureStore(settings=settings_of(issuer, home=tmp_path)) as store, serve(store) as served:
        assert served.http.get("/v1/views").status_code == 401
        for groups, status in ((["platform"], 200), (["analysts"], 403)):
            headers = {"Authorization": f"Bearer {sign(claims(issuer, groups=groups))}"}
            for _ in range(2):
                assert served.http.get("/v1/entities", headers=headers).status_code == status
        expired = {"Authorization": f"Bearer {sign(claims(issuer, exp=1))}"}
        told = served.http.get("/v1/views", headers=expired)
        assert (told.status_code, told.json()["error"]["type"]) == (401, "Unauthorized")
