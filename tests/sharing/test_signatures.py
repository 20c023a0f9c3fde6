"""Signed addresses: no part of one can be exchanged, and each ends."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.errors import NotReady, Unauthorized
from featurestore.sharing.signatures import FileAddress, Signer

ADDRESS = FileAddress("partners", "shop", "orders", f"{1:064x}.parquet", "0123456789ab", 1_000)
WORDS = st.text(max_size=20)
TEXTS = ("share", "schema", "table", "file", "key", "rules")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A signer with a secret of its own."""
    return Signer(tmp_path_factory.mktemp("home"))


def test_a_signature_holds_until_it_ends(signer: Signer) -> None:
    signature = signer.sign(ADDRESS)
    signer.check(ADDRESS, signature, 999)
    with pytest.raises(Unauthorized, match="expired"):
        signer.check(ADDRESS, signature, 1_000)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={**dict.fromkeys(TEXTS, WORDS), "expires": st.integers(0, 2**60)}))
def test_no_part_can_be_exchanged(signer: Signer, changes: dict[str, Any]) -> None:
    other = replace(ADDRESS, **changes)
    if other != ADDRESS:
        with pytest.raises(Unauthorized, match="signed"):
            signer.check(other, signer.sign(ADDRESS), 0)


@given(WORDS, WORDS)
def test_parts_do_not_run_into_one_another(signer: Signer, first: str, second: str) -> None:
    for a, b in zip(fields(ADDRESS)[:4], fields(ADDRESS)[1:5], strict=True):
        together: dict[str, Any] = {a.name: first + second, b.name: ""}
        apart: dict[str, Any] = {a.name: first, b.name: second}
        whole, parted = replace(ADDRESS, **together), replace(ADDRESS, **apart)
        assert (signer.sign(whole) == signer.sign(parted)) == (whole == parted)


@given(st.text(max_size=80))
def test_other_signatures_are_refused(signer: Signer, signature: str) -> None:
    with pytest.raises(Unauthorized):
        signer.check(ADDRESS, signature, 0)


def test_all_processes_have_one_secret_that_only_the_owner_reads(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: Signer(tmp_path).sign(ADDRESS), range(8)))) == 1
    (secret,) = (tmp_path / "sharing").iterdir()
    assert secret.stat().st_mode & 0o077 == 0
    assert Signer(tmp_path / "other").sign(ADDRESS) != Signer(tmp_path).sign(ADDRESS)
    secret.write_bytes(b"short")
    with pytest.raises(NotReady, match="damaged"):
        Signer(tmp_path).sign(ADDRESS)
