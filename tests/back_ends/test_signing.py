"""Requests to a REST catalog that are signed as AWS does, by settings alone."""

from pathlib import Path

import pytest

from featurestore.lakehouse import tables
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.faults import rest
from tests.lakehouse.data import EVENTS


def test_requests_are_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="no boto3 here: pip install 'moto[server]>=5.2.5'")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "glue-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "glue-secret")
    with rest.serving(tmp_path / "rest") as server:
        signed = {"rest.sigv4-enabled": "true", "rest.signing-name": "glue", "rest.signing-region": "eu-central-1"}
        with open_catalog(Settings(home=tmp_path / "home", catalog={"type": "rest", "uri": server.uri, **signed})) as catalog:
            assert tables.create(catalog, "features.f", EVENTS).snapshot_id is None
            assert tables.exists(catalog, "features.f")
        assert server.authorization is not None
        assert server.authorization.startswith("AWS4-HMAC-SHA256 Credential=glue-key/")
        assert "/eu-central-1/glue/aws4_request" in server.authorization
