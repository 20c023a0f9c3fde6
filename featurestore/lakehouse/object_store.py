"""File systems of addresses outside of the warehouse: S3, Google Cloud Storage and Azure, with credentials from settings."""

import re
from collections.abc import Mapping
from functools import lru_cache

import pyarrow.fs as pafs

from featurestore.errors import FeatureStoreError, NotFound, NotReady, RequestError
from featurestore.lakehouse.catalog_errors import NO_BUCKET
from featurestore.lakehouse.local_io import pyarrow_io

SCHEMES = ("s3", "gs", "abfs", "abfss", "az")
_AZURE = ("abfs", "abfss", "az")
_DEADLINES = {"s3.connect-timeout": "10", "s3.request-timeout": "60"}
"""Seconds; the file systems try again a few times by themselves."""
_REFUSED = re.compile(
    r"ACCESS_DENIED|Access ?Denied|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|ExpiredToken|Forbidden"
    r"|PERMISSION_DENIED|AuthenticationFailed|AuthorizationFailure|HTTP status 40[13]",
    re.IGNORECASE,
)
_NO_BUCKET = re.compile(rf"{NO_BUCKET}|bucket does not exist|bucket not found|ContainerNotFound", re.IGNORECASE)


def open_address(address: str, properties: Mapping[str, str]) -> tuple[pafs.FileSystem, str]:
    """The file system of an address such as `s3://bucket/key`, and the path in it: the bucket or container, and the key."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    more: dict[str, str] = {}
    if scheme in _AZURE and "@" in bucket:
        bucket, _, host = bucket.partition("@")
        more["adls.account-name"] = host.partition(".")[0]
    return _open(scheme, bucket, tuple(sorted({**_DEADLINES, **more, **properties}.items()))), f"{bucket}/{key}"


@lru_cache(maxsize=32)
def _open(scheme: str, bucket: str, properties: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    try:
        files = pyarrow_io().PyArrowFileIO(dict(properties))
        opened: pafs.FileSystem = files.fs_by_scheme("abfs" if scheme == "az" else scheme, bucket)
    except (OSError, ValueError, ImportError) as error:
        raise NotReady(f"{scheme}://{bucket} cannot be opened; check the setting source_access", reason=str(error)) from error
    return opened


def to_source_error(error: OSError, address: str) -> FeatureStoreError:
    """What an error of a file system means for the reader of an address, and what to do."""
    text = str(error)
    if _NO_BUCKET.search(text):
        return NotFound("bucket of", address, None)
    if _REFUSED.search(text):
        return RequestError(
            f"{address} cannot be read with these credentials; check those in the setting source_access, or in the environment", reason=text
        )
    if isinstance(error, FileNotFoundError):
        return NotFound("file", address, None)
    return NotReady(f"{address} cannot be read: its server does not answer as expected; run the same again", reason=text)
