"""Settings from arguments, `FEATURESTORE_*` variables and `featurestore.toml`, in that order of precedence."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from featurestore.errors import RequestError, near
from featurestore.masking import Secret
from featurestore.redaction import percent_encoded
from featurestore.setting_fields import SettingFields
from featurestore.values import byte_sizes
from featurestore.values.table_names import CATALOG, KEPT_NAMESPACE

URL_VARIABLE = "FEATURESTORE_URL"
"""The variable with a server's URL, for commands and `connect`; not a setting of a store."""
CATALOG_NAME = CATALOG
"""What pyiceberg calls the catalog: it is part of the keys of a catalog in a database, and no part of what users write."""
GIB = 1 << 30
PUSH_LOG = "push.sqlite"
"""The file of the log of pushed events in the home folder."""
MIN_TOKEN_LENGTH = 8
"""A server warns of tokens with fewer characters, which are easy to guess."""


class Settings(SettingFields):
    """Locations and resource limits of a store. By default everything is in one folder."""

    def __init__(self, **values: Any) -> None:
        """`values` as in `featurestore.toml`: texts are converted to secrets, paths and numbers."""
        super().__init__(**values)

    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().absolute()

    def catalog_properties(self) -> dict[str, str]:
        """The properties of the Iceberg catalog, including secrets."""
        catalog = {name: value.reveal() for name, value in self.catalog.items()}
        if "uri" in catalog:
            catalog["uri"] = percent_encoded(catalog["uri"])
        sql = catalog.get("type", "sql" if not catalog.get("uri", "").startswith("http") else "rest") == "sql"
        configured = self.warehouse.reveal() if self.warehouse else catalog.get("warehouse")
        if not sql:
            # A catalog server has its own names for warehouses.
            return {**catalog, **({"warehouse": configured} if configured else {})}
        warehouse = configured or str(self.home_path() / "warehouse")
        if "://" not in warehouse:
            warehouse = Path(warehouse).expanduser().absolute().as_uri()
        defaults = {} if catalog else {"type": "sql", "uri": f"sqlite:///{quote(str(self.home_path() / 'catalog.db'))}"}
        return {**defaults, **catalog, "warehouse": warehouse}

    @property
    def record_namespaces(self) -> tuple[str, ...]:
        """The namespaces in which the store keeps records of itself, such as keys, grants and the audit log."""
        return self.registry_namespace, self.audit_namespace

    @property
    def joined_namespaces(self) -> tuple[str, ...]:
        """The namespaces of rows that were joined from views for somebody: training sets and logged predictions."""
        return self.training_sets_namespace, self.inference_namespace

    @property
    def own_namespaces(self) -> tuple[str, ...]:
        """All namespaces whose tables the store makes, each once."""
        return tuple(dict.fromkeys((self.features_namespace, *self.joined_namespaces, *self.record_namespaces, KEPT_NAMESPACE)))

    def source_properties(self) -> dict[str, str]:
        """The properties with which the files of sources are read, including secrets."""
        return {name: value.reveal() for name, value in self.source_access.items()}

    def online_url(self) -> str:
        """The online store's URL, including its password; a relative LMDB path is made absolute."""
        url = percent_encoded(self.online.reveal()) if self.online else f"lmdb://{self.home_path() / 'online'}"
        if url.startswith("lmdb://"):
            return f"lmdb://{Path(url.removeprefix('lmdb://')).expanduser().absolute()}"
        return url

    def push_log_url(self) -> str | None:
        """The address of the log of pushed events, including its password; None if there is none that all machines of the catalog share."""
        if self.push_log is not None:
            return percent_encoded(self.push_log.reveal())
        catalog = self.catalog_properties().get("uri", "")
        if catalog.startswith("postgresql"):
            return catalog
        return f"sqlite://{self.home_path() / PUSH_LOG}" if catalog.startswith("sqlite") else None

    def mlflow_address(self) -> str | None:
        """The URL of MLflow's tracking server, including its password; None to use MLflow's own setting."""
        return percent_encoded(self.mlflow_tracking_uri.reveal()) if self.mlflow_tracking_uri else None

    def to_json_with_secrets(self) -> str:
        """All explicit settings as JSON, including secrets. Only for another process of this server; never store or show it."""
        plain = self.model_dump(mode="json", exclude_unset=True)
        for name in plain:
            value = getattr(self, name)
            if isinstance(value, Secret):
                plain[name] = value.reveal()
            elif name in ("catalog", "source_access", "databases"):
                plain[name] = {inner: secret.reveal() for inner, secret in value.items()}
        return json.dumps(plain)

    def memory_bytes(self) -> int | None:
        """The memory limit of a query in bytes; None for DuckDB's default."""
        return None if self.memory_limit is None else byte_sizes.parse_memory(self.memory_limit)

    def job_memory(self) -> int:
        """The memory limit of a job's process in bytes."""
        if self.job_memory_limit is not None:
            return byte_sizes.parse_memory(self.job_memory_limit)
        query, machine = self.memory_bytes(), byte_sizes.machine_memory()
        return machine if query is None else min(2 * query + GIB, machine)

    def query_memory(self) -> int:
        """The memory limit of a request's query in bytes."""
        if self.query_memory_limit is not None:
            return byte_sizes.parse_memory(self.query_memory_limit)
        return self.memory_bytes() or byte_sizes.machine_memory() // 8

    def server_memory(self) -> int:
        """The memory limit of a server process in bytes: by default at least that of its queries plus 2 GiB."""
        if self.server_memory_limit is not None:
            return byte_sizes.parse_memory(self.server_memory_limit)
        machine = byte_sizes.machine_memory()
        return min(max(machine * 3 // 4 // self.workers, self.query_workers * self.query_memory() + 2 * GIB), machine)

    def query_spill(self) -> int:
        """The spill limit of a request's query in bytes."""
        return byte_sizes.parse(self.query_spill_limit)

    def result_bytes(self) -> int:
        """The limit of the rows of a response in bytes."""
        return byte_sizes.parse(self.result_limit)

    def logged_fraction(self) -> float:
        """The fraction of the prediction requests that a server logs."""
        named = {"off": 0.0, "full": 1.0}
        return named[self.prediction_log] if self.prediction_log in named else float(self.prediction_log)

    def spool_bytes(self) -> int:
        """The limit of the predictions that wait to be logged in bytes."""
        return byte_sizes.parse(self.prediction_spool_limit)

    def push_log_bytes(self) -> int:
        """The limit of the log of pushed events in bytes."""
        return byte_sizes.parse(self.push_log_limit)

    def audit_log_bytes(self) -> int:
        """The limit of the entries of the audit log that wait, in bytes."""
        return byte_sizes.parse(self.audit_log_limit)

    def sharing_cache_bytes(self) -> int:
        """The limit of the files that are made for recipients of shares, in bytes."""
        return byte_sizes.parse(self.sharing_cache)

    def body_bytes(self) -> int:
        """The limit of the body of a request in bytes."""
        return byte_sizes.parse(self.body_limit)

    def upload_bytes(self) -> int:
        """The limit of an uploaded spine in bytes, as it is sent."""
        return byte_sizes.parse(self.upload_limit)

    def lookup_cache_bytes(self) -> int:
        """The setting `lookup_cache` in bytes."""
        return byte_sizes.parse(self.lookup_cache)

    def gzip_bytes(self) -> int:
        """The size from which answers are compressed, in bytes."""
        return byte_sizes.parse(self.gzip_from)

    def rate_bytes(self) -> int:
        """The minimum transfer rate of a body or response in bytes per second."""
        return max(1, byte_sizes.parse(self.lowest_rate))

    def spine_bytes(self) -> int:
        """The limit of the rows of an uploaded spine in bytes."""
        return byte_sizes.parse(self.spine_limit)

    def spill_path(self) -> Path:
        """The folder that queries spill to."""
        return (self.spill_directory or self.home_path() / "spill").expanduser().absolute()


def load_settings(**values: Any) -> Settings:
    """Load settings from `values` (None: not set), the environment and `featurestore.toml`.

    Raises: RequestError naming every wrong or unknown setting.
    """
    arguments = {name: value for name, value in values.items() if value is not None}
    try:
        settings = Settings(**arguments)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']}{_hint(problem)}" for problem in error.errors()]
        raise RequestError("the settings are wrong (featurestore.toml, FEATURESTORE_* or arguments):\n" + "\n".join(lines)) from error
    except ValueError as error:
        raise RequestError(f"featurestore.toml or a FEATURESTORE_* variable cannot be read: {error}") from error
    _refuse_unknown_variables()
    return settings


def _hint(problem: Any) -> str:
    return near(str(problem["loc"][0]), Settings.model_fields) if problem["type"] == "extra_forbidden" else ""


def _refuse_unknown_variables() -> None:
    known = {f"FEATURESTORE_{name.upper()}" for name in Settings.model_fields} | {URL_VARIABLE}
    for name in os.environ:
        if name.startswith("FEATURESTORE_") and name not in known:
            raise RequestError(f"{name} is not a setting{near(name, known)}")
