"""Files on web servers that send something else than they were asked for."""

import httpx
import pytest

from featurestore.errors import NotReady
from featurestore.files import http_files


@pytest.mark.parametrize("content", [b"", b"abc", b"abcde" * 1_000_000])
def test_a_part_of_another_length_is_refused(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """A shorter one would end the file, and a longer one has no bound."""
    monkeypatch.setattr(http_files, "_PAUSE_SECONDS", 0.0)
    transport = httpx.MockTransport(lambda request: httpx.Response(206, stream=httpx.ByteStream(content)))
    with httpx.Client(transport=transport) as client:
        file = http_files._Ranges(client, "https://lake.example/x.parquet", 100)
        file.seek(10)
        with pytest.raises(NotReady, match=r"x\.parquet sent another number of bytes"):
            file.readinto(memoryview(bytearray(4)))
