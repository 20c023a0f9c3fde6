"""The fields of the settings: names, types, defaults and what each one is."""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from featurestore.errors import brief
from featurestore.masking import Secret
from featurestore.redaction import is_secret
from featurestore.setting_types import Address, Addresses, ByteSize, Duration, MemorySize, Properties, SigningSecret, Token
from featurestore.values.table_names import CATALOG


class SettingFields(BaseSettings):
    """What `featurestore.toml`, a `FEATURESTORE_*` variable or an argument may set; `Settings` computes locations and limits from it."""

    model_config = SettingsConfigDict(
        env_prefix="FEATURESTORE_", toml_file="featurestore.toml", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(default=Path(".featurestore"), description="folder of all default state")
    catalog: Properties = Field(default_factory=dict, description="pyiceberg catalog properties; default: SQLite in the home folder")
    catalog_name: str = Field(
        default=CATALOG,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$",
        description="name of the catalog in names of three parts, such as `featurestore.shop.orders`; `shop.orders` is the same table",
    )
    warehouse: Address | None = Field(
        default=None, description="where tables' files lie, a folder or s3:// address; default: warehouse/ in the home folder"
    )
    online: Address | None = Field(
        default=None, description="online store, lmdb://path or redis://host:port/db; default: LMDB in the home folder"
    )
    online_allow_eviction: bool = Field(
        default=False,
        description="accept a Redis that evicts keys when its memory is full, although lookups then return NOT_FOUND for existing rows",
    )
    online_fill: bool = Field(default=True, description="let a server fill tables by itself that the online store has lost")
    mlflow_tracking_uri: Address | None = Field(
        default=None, description="MLflow's tracking server; default: MLflow's own setting, else SQLite in the home folder"
    )
    mlflow_webhook_secret: SigningSecret | None = Field(
        default=None, description="secret with which MLflow signs what its webhook sends; default: webhooks are refused"
    )
    openlineage_url: Address | None = Field(
        default=None, description="where OpenLineage events about runs are sent, an http address or a file; default: nowhere"
    )
    openlineage_namespace: str = Field(default="featurestore", min_length=1, description="namespace of the jobs in OpenLineage events")
    source_folders: tuple[Path, ...] = Field(
        default=(), description='folders from which a server may read the files of sources, as in `["/data"]`; default: none'
    )
    source_locations: tuple[str, ...] = Field(
        default=(),
        description='addresses from which a server may read sources, with all below them, as in `["s3://lake/raw/"]`; default: none',
    )
    source_access: Properties = Field(
        default_factory=dict, description="pyiceberg FileIO properties with which the files of sources are read, such as `s3.endpoint`"
    )
    databases: Addresses = Field(
        default_factory=dict,
        description="addresses of databases by name, which sources give as `url`, as in `postgresql://user:password@host/db`",
    )
    definitions: Path = Field(default=Path("definitions"), description="folder of definition files")
    memory_limit: MemorySize | None = Field(
        default=None, description="memory limit of a query, such as 4GB or 50%; default: DuckDB's, 80 % of the machine's memory"
    )
    threads: int | None = Field(default=None, ge=1, description="threads of a query; default: all cores")
    engine: Address | None = Field(
        default=None,
        description="workers that compute runs and joins: `dask://host:port`, or `dask://local`; `spark`, `spark://host:port`, or Spark"
        " Connect at `sc://host:port`; default: `local`, this process",
    )
    engine_from_rows: int = Field(
        default=1_000_000,
        ge=0,
        description="rows of a source, or of a spine with its logs, from which the workers of `engine` compute; less is computed here",
    )
    chunk_rows: int | None = Field(
        default=None,
        ge=1,
        description="feature rows in a chunk of a backfill; an interrupted backfill resumes after its last chunk; default: by memory_limit",
    )
    spill_directory: Path | None = Field(
        default=None, description="folder for the data of queries that exceed memory_limit; default: spill/ in the home folder"
    )
    host: str = Field(default="127.0.0.1", description="address the server listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="port the server listens on; 0 chooses a free one")
    workers: int = Field(default=1, ge=1, description="server processes")
    job_workers: int = Field(default=1, ge=1, description="jobs that a server runs at the same time")
    job_memory_limit: MemorySize | None = Field(
        default=None,
        description="memory limit of the process of a job; default: twice memory_limit plus 1 GiB, else the machine's memory",
    )
    job_seconds: float = Field(default=21_600, gt=0, description="time limit in seconds of a job, and of a rebuild in a request")
    query_seconds: float = Field(default=60, gt=0, description="time limit in seconds of the queries of any other request")
    query_workers: int = Field(default=2, ge=1, description="requests whose queries a server process runs at the same time")
    query_queue: int = Field(default=16, ge=0, description="requests that may wait until their queries can run; more are refused")
    lookup_workers: int = Field(
        default=16, ge=1, description="lookups that a server process runs in threads at the same time; those that are quick need none"
    )
    lookup_cache: ByteSize = Field(
        default="64MiB",
        description="memory in which a server process keeps the online rows that were looked up last; 0B keeps none",
    )
    lookup_queue: int = Field(default=256, ge=0, description="lookups that may wait for a thread; more are refused")
    concurrent_requests: int = Field(
        default=1024,
        ge=1,
        description="requests that a server process works on or has waiting, besides probes and quick lookups; more are refused",
    )
    entities_limit: int = Field(
        default=10_000, ge=1, le=100_000, description="most entities of a lookup, or records of a prediction, in one request"
    )
    body_limit: ByteSize = Field(default="16MiB", description="size limit of the body of a request, except for uploads")
    upload_limit: ByteSize = Field(default="4GiB", description="size limit of an uploaded spine, as it is sent")
    gzip_from: ByteSize = Field(
        default="64KiB", description="size from which JSON and Arrow answers are compressed for clients that accept gzip"
    )
    query_memory_limit: MemorySize | None = Field(
        default=None, description="memory limit of the queries of a request; default: memory_limit, else an eighth of the machine's memory"
    )
    server_memory_limit: MemorySize | None = Field(
        default=None, description="memory limit of each server process; default: its share of three quarters of the machine's memory"
    )
    query_spill_limit: ByteSize = Field(default="16GB", description="disk space to which the queries of a request may spill")
    result_limit: ByteSize = Field(default="1GiB", description="size limit of the rows of a response in the server's memory")
    predict_seconds: float = Field(default=60, gt=0, description="time limit in seconds of a prediction, and of loading its model before")
    predict_workers: int = Field(default=4, ge=1, description="predictions that a server process runs at the same time")
    predict_queue: int = Field(default=64, ge=0, description="predictions that may wait until they can run; more are refused")
    prediction_log: str = Field(
        default="off",
        description="prediction requests that a server logs to `inference.<model>`: `off`, `full`, or a fraction such as `0.1`",
    )
    prediction_spool: Literal["memory", "file", "fsync"] = Field(
        default="file",
        description="where predictions wait to be logged: in memory; in a file, which survives a killed process; or in one that is synced"
        " before each answer, which also survives a power cut",
    )
    prediction_spool_limit: ByteSize = Field(
        default="1GiB", description="size limit of the predictions that wait to be logged; more are counted and not logged"
    )
    prediction_log_seconds: float = Field(
        default=60, gt=0, description="longest time in seconds until a prediction is in its table, while the catalog responds"
    )
    audit_log: Literal["off", "on", "fsync"] = Field(
        default="off",
        description="record every access and change: in a file that survives a killed process; or in one that is synced before each answer,"
        " which also survives a power cut",
    )
    audit_log_seconds: float = Field(
        default=60, gt=0, description="longest time in seconds until an entry of the audit log is in its table, while the catalog responds"
    )
    audit_log_limit: ByteSize = Field(
        default="1GiB", description="size limit of the entries of the audit log that wait for their table; beyond it nothing is done"
    )
    push_log: Address | None = Field(
        default=None,
        description="log of pushed events, postgresql://host/db, redis://host:port/db or sqlite:///path; default: the database of the"
        " catalog, or push.sqlite in the home folder for one on this machine",
    )
    push_log_limit: ByteSize = Field(default="8GiB", description="size limit of the log of pushed events, with the ids it remembers")
    push_remembers: Duration = Field(
        default="7d", description="for how long the log of pushed events remembers ids; what is sent again later is found by the next copy"
    )
    push_copy_every: Duration = Field(
        default="30s", description="how often a server copies pushed events from the log into the tables of their sources"
    )
    header_seconds: float = Field(default=10, gt=0, description="time limit in seconds for receiving the headers of a request")
    stall_seconds: float = Field(
        default=30, gt=0, description="longest pause in seconds while a request body is received or a response is sent"
    )
    lowest_rate: ByteSize = Field(
        default="16KiB",
        description="lowest rate, in bytes per second, at which a client sends a body or reads a response, apart from pauses",
    )
    spine_limit: ByteSize = Field(default="8GiB", description="size limit of the decoded rows of an uploaded spine")
    spine_seconds: float = Field(default=300, gt=0, description="time limit in seconds for reading an uploaded spine")
    sharing_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#@]+$",
        description="address at which recipients of shares reach the server, as in their profiles; default: http, `host` and `port`",
    )
    sharing_cache: ByteSize = Field(
        default="16GiB", description="size limit of the files that are made for recipients of shares, in the home folder"
    )
    token: Token | None = Field(default=None, description="bearer token of an administrator, which clients may send; default: none")
    oidc_issuer: Address | None = Field(
        default=None, description="issuer of the OpenID Connect tokens that clients may send, as in their claim `iss`; default: none"
    )
    oidc_audience: str | None = Field(default=None, min_length=1, description="what these tokens must have in their claim `aud`")
    oidc_groups_claim: str = Field(
        default="groups", min_length=1, description="claim of these tokens with the groups of whoever sends them"
    )
    oidc_administrators: tuple[str, ...] = Field(
        default=(), description='groups of these tokens whose members are administrators, as in `["platform"]`; default: none'
    )
    oidc_jwks_url: Address | None = Field(
        default=None, description="address of the issuer's public keys; default: as the issuer's `/.well-known/openid-configuration` says"
    )
    default_alias: str = Field(
        default="champion", min_length=1, description="alias of the model version that predicts for requests without version and alias"
    )
    allow_pickle: bool = Field(default=True, description="load models whose files can execute code, such as pickles")
    allow_anonymous: bool = Field(
        default=False, description="let the server listen on other than loopback addresses without asking for credentials"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description='host names of the server besides localhost, as in `["features.example.com"]`; `*.` matches any subdomain'
    )
    features_namespace: str = Field(default="features", description="namespace of feature tables")
    training_sets_namespace: str = Field(default="training_sets", description="namespace of training sets")
    registry_namespace: str = Field(default="registry", description="namespace of definitions and model events")
    inference_namespace: str = Field(default="inference", description="namespace of inference logs")
    audit_namespace: str = Field(default="system", description="namespace of the table `audit`, the audit log")

    @field_validator("prediction_log", mode="before")
    @classmethod
    def _fraction(cls, value: Any) -> str:
        fraction = {"off": 0.0, "full": 1.0}.get(str(value).strip().lower())
        try:
            fraction = float(value) if fraction is None else fraction
        except (TypeError, ValueError):
            fraction = math.nan
        if isinstance(value, bool) or not 0 <= fraction <= 1:
            raise ValueError("Input should be off, full, or a fraction between 0 and 1, such as 0.1")
        return "off" if fraction == 0 else "full" if fraction == 1 else repr(fraction)

    @field_validator("engine", mode="after")
    @classmethod
    def _engine_address(cls, value: Secret | None) -> Secret | None:
        address = "local" if value is None else value.reveal()
        if address in ("local", "spark", "dask://local"):
            return None if address == "local" else value
        scheme, separator, host = address.partition("://")
        if not separator or scheme not in ("dask", "spark", "sc") or not host.partition(";")[0].strip("/"):
            raise ValueError("Input should be local, dask://local, dask://host:port, spark, spark://host:port or sc://host:port")
        if any(is_secret(parameter.partition("=")[0]) for parameter in host.split(";")[1:]):
            raise ValueError("Input should have no token: Spark Connect takes it from the variable SPARK_CONNECT_AUTHENTICATE_TOKEN")
        return value

    @field_validator("push_log", mode="after")
    @classmethod
    def _push_log_address(cls, value: Secret | None) -> Secret | None:
        scheme = "" if value is None else value.reveal().partition("://")[0].partition("+")[0]
        if value is not None and scheme not in ("postgresql", "redis", "rediss", "unix", "sqlite"):
            raise ValueError("Input should be postgresql://host/database, redis://host:port/db or sqlite:///path")
        return value

    @field_validator("openlineage_url", mode="after")
    @classmethod
    def _event_address(cls, value: Secret | None) -> Secret | None:
        scheme, separator, _ = ("" if value is None else value.reveal()).partition("://")
        if separator and scheme not in ("http", "https", "file"):
            raise ValueError(f"Input should be an http, https or file address, or the path of a file, not {brief(scheme)}://")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
