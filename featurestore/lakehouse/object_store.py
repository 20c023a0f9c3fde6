"""File systems of addresses outside of the warehouse: S3, Google Cloud Storage and Azure, with credentials from settings."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.errors import FeatureStoreError, NotFound, NotReady, RequestError
from featurestore.lakehouse.catalog_errors import NO_BUCKET
from featurestore.lakehouse.local_io import pyarrow_io

SCHEMES = ("s3", "gs", "abfs", "abfss", "az")
_AZURE = ("abfs", "abfss", "az")
_DEADLINES = {"s3.connect-timeout": "10", "s3.request-timeout": "60"}
"""Seconds; the file systems try again a few times by themselves."""
_GCS_SECONDS = 30
"""For how long a request to Google Cloud Storage is tried again. Its client's own limit is a quarter of an hour."""
_REFUSED = re.compile(
    r"ACCESS_DENIED|Access ?Denied|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|ExpiredToken|Forbidden"
    r"|PERMISSION_DENIED|OAuth2 access token|AuthenticationException|end of Base64"
    r"|AuthenticationFailed|AuthorizationFailure|HTTP status 40[13]",
    re.IGNORECASE,
)
_NO_BUCKET = re.compile(rf"{NO_BUCKET}|bucket does not exist|bucket not found|ContainerNotFound", re.IGNORECASE)


def open_address(address: str, properties: Mapping[str, str]) -> tuple[pafs.FileSystem, str]:
    """The file system of an address such as `s3://bucket/key`, and the path in it: the bucket or container, and the key.

    Raises: RequestError for an address in Azure without an account; NotReady.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    named: dict[str, str] = {}
    if scheme in _AZURE and "@" in bucket:
        # The account that the address names, also where the settings have another one: credentials of that are refused.
        bucket, _, host = bucket.partition("@")
        named["adls.account-name"] = host.partition(".")[0]
    elif scheme in _AZURE and not properties.get("adls.account-name"):
        raise RequestError(
            f"{address} names no storage account; write {scheme}://container@account.dfs.core.windows.net/..., or set adls.account-name in"
            " the setting source_access"
        )
    return _open(scheme, bucket, tuple(sorted({**_DEADLINES, **properties, **named}.items()))), f"{bucket}/{key}"


@lru_cache(maxsize=32)
def _open(scheme: str, bucket: str, properties: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    try:
        if scheme == "gs":
            return _open_gcs(dict(properties))
        files = pyarrow_io().PyArrowFileIO(dict(properties))
        opened: pafs.FileSystem = files.fs_by_scheme("abfs" if scheme == "az" else scheme, bucket)
    except (OSError, ValueError, ImportError) as error:
        raise NotReady(f"{scheme}://{bucket} cannot be opened; check the setting source_access", reason=str(error)) from error
    return opened


def _open_gcs(properties: Mapping[str, str]) -> pafs.FileSystem:
    """As pyiceberg opens it, with a limit of time and, for public buckets, without credentials, both of which it does not offer.

    Without a token, credentials are those of the environment (`GOOGLE_APPLICATION_CREDENTIALS`), else of the machine in Google's cloud.
    """
    endpoint = urlsplit(properties.get("gcs.service.host", ""))
    expires = properties.get("gcs.oauth2.token-expires-at")
    return pafs.GcsFileSystem(
        anonymous=properties.get("gcs.anonymous", "").lower() == "true",
        access_token=properties.get("gcs.oauth2.token"),
        credential_token_expiration=None if expires is None else datetime.fromtimestamp(int(expires) / 1000, UTC),
        scheme=endpoint.scheme or None,
        endpoint_override=endpoint.netloc or None,
        retry_time_limit=timedelta(seconds=_GCS_SECONDS),
    )


def to_source_error(error: OSError | pa.ArrowException, address: str) -> FeatureStoreError:
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
