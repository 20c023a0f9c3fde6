"""`audit-log`."""

import json
from pathlib import Path

import pytest

from featurestore import Settings
from featurestore.audit_log.folder import audit_path, list_segments
from featurestore.audit_log.log import AuditLog
from tests.cli.running import run


def test_show_head_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(tmp_path / "home"))
    settings = Settings(home=tmp_path / "home", audit_log="on")
    assert "no entries" in run("audit-log", "show").stdout
    log = AuditLog(settings)
    log.record("her", "POST /v1/apply", status=200)
    log.record("him", "GET /v1/views/{name}", objects=["views/secret"], status=403, error="Forbidden")
    shown = run("audit-log", "show").stdout
    assert "403 Forbidden" in shown
    assert "views/secret" in shown
    assert json.loads(run("audit-log", "show", "--principal", "her", "--json").stdout)[0]["action"] == "POST /v1/apply"
    verified = run("audit-log", "verify")
    assert (verified.exit_code, "3 entries in 1 chain" in verified.stdout) == (0, True)
    heads = tmp_path / "heads.json"
    heads.write_text(run("audit-log", "head", "--json").stdout)
    assert run("audit-log", "verify", "--head", str(heads)).exit_code == 0
    assert json.loads(heads.read_text())[0]["hash"] in run("audit-log", "head").stdout
    ((segment,),) = list_segments(audit_path(settings)).values()
    segment.path.write_bytes(b"".join(segment.path.read_bytes().splitlines(keepends=True)[:2]))
    assert run("audit-log", "verify").exit_code == 0
    broken = run("audit-log", "verify", "--head", str(heads))
    assert broken.exit_code == 1
    assert "entry 3 is missing" in broken.stdout
    heads.write_text("{}")
    assert run("audit-log", "verify", "--head", str(heads)).exit_code == 1
    for wrong in (("verify", "--limit", "3"), ("show", "--head", str(heads)), ("show", "--entity", "[]"), ("show", "--entity", "{")):
        assert run("audit-log", *wrong).exit_code == 2
