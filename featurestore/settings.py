"""Settings come from arguments, `FEATURESTORE_*` variables and `featurestore.toml`, in that order, and are built once."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ByteSize, Field, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from featurestore.errors import RequestError, near

CATALOG_NAME = "featurestore"
GIB = 1 << 30

_BYTES = TypeAdapter(ByteSize)


class Settings(BaseSettings):
    """Where everything lies and how much of the machine to use. With nothing set, everything is in one folder."""

    model_config = SettingsConfigDict(env_prefix="FEATURESTORE_", toml_file="featurestore.toml", extra="forbid", frozen=True)

    home: Path = Field(default=Path(".featurestore"), description="folder of all default state")
    catalog: dict[str, str] = Field(default_factory=dict, description="pyiceberg catalog properties; default: SQLite in the home folder")
    warehouse: str | None = Field(
        default=None, description="where tables' files lie, a folder or s3:// address; default: warehouse/ in the home folder"
    )
    online: str | None = Field(
        default=None, description="online store, lmdb://path or redis://host:port/db; default: LMDB in the home folder"
    )
    mlflow_tracking_uri: str | None = Field(
        default=None, description="MLflow's tracking server; default: MLflow's own setting, else SQLite in the home folder"
    )
    definitions: Path = Field(default=Path("definitions"), description="folder of definition files")
    memory_limit: str | None = Field(
        default=None, description="most memory a query may use, such as 4GB; default: DuckDB's 80 % of the machine"
    )
    threads: int | None = Field(default=None, ge=1, description="threads a query may use; default: all cores")
    chunk_rows: int | None = Field(
        default=None, ge=1, description="feature rows a backfill computes at once and keeps when it is cut off; default: by memory_limit"
    )
    spill_directory: Path | None = Field(default=None, description="where queries spill; default: spill/ in the home folder")
    host: str = Field(default="127.0.0.1", description="address the server listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="port the server listens on; 0 takes a free one")
    workers: int = Field(default=1, ge=1, description="server processes")
    job_workers: int = Field(default=1, ge=1, description="training sets and materializations that a server works on at once")
    job_memory_limit: str | None = Field(
        default=None,
        description="most memory that the process of one of them may have; default: twice memory_limit and 1 GiB, else the machine's",
    )
    token: str | None = Field(default=None, description="bearer token the server demands; default: none")
    features_namespace: str = Field(default="features", description="namespace of feature tables")
    training_sets_namespace: str = Field(default="training_sets", description="namespace of training sets")
    registry_namespace: str = Field(default="registry", description="namespace of definitions and model events")
    inference_namespace: str = Field(default="inference", description="namespace of inference logs")

    @field_validator("job_memory_limit")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            _BYTES.validate_python(value)
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

    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().absolute()

    def catalog_properties(self) -> dict[str, str]:
        """The properties the Iceberg catalog is opened with."""
        sql = self.catalog.get("type", "sql" if not self.catalog.get("uri", "").startswith("http") else "rest") == "sql"
        given = self.warehouse or self.catalog.get("warehouse")
        if not sql:
            # A catalog server knows its warehouses by names of its own.
            return {**self.catalog, **({"warehouse": given} if given else {})}
        warehouse = given or str(self.home_path() / "warehouse")
        if "://" not in warehouse:
            warehouse = Path(warehouse).expanduser().absolute().as_uri()
        defaults = {} if self.catalog else {"type": "sql", "uri": f"sqlite:///{quote(str(self.home_path() / 'catalog.db'))}"}
        return {**defaults, **self.catalog, "warehouse": warehouse}

    def online_url(self) -> str:
        """The online store's address; a relative LMDB path is made absolute."""
        url = self.online or f"lmdb://{self.home_path() / 'online'}"
        if url.startswith("lmdb://"):
            return f"lmdb://{Path(url.removeprefix('lmdb://')).expanduser().absolute()}"
        return url

    def job_memory(self) -> int:
        """The most bytes that the process of a job may have."""
        if self.job_memory_limit is not None:
            return int(_BYTES.validate_python(self.job_memory_limit))
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        try:
            return min(2 * int(_BYTES.validate_python(self.memory_limit)) + GIB, machine)
        except ValidationError:
            # Not set, or a share of the machine.
            return machine

    def spill_path(self) -> Path:
        """Where queries spill."""
        return (self.spill_directory or self.home_path() / "spill").expanduser().absolute()


def load_settings(**values: Any) -> Settings:
    """Settings from `values` (None means not given), the environment and `featurestore.toml`.

    Raises: RequestError naming every wrong or unknown setting and where it came from.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        settings = Settings(**given)
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
    known = {f"FEATURESTORE_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("FEATURESTORE_") and name not in known:
            raise RequestError(f"{name} is not a setting{near(name, known)}")
