"""What can be put into a share: the newest version of a view, a table of the catalog, or a training set."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.access.rights import Rights
from featurestore.errors import NotFound, RequestError, brief, near
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.table import Table
from featurestore.records.definitions import read_registry
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.settings import Settings
from featurestore.values.arguments import check_name
from featurestore.values.table_names import is_in, local_name

_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,99}")
_EXAMPLE = "VIEW customer_orders"


class SharedKind(StrEnum):
    """A kind of object in a share."""

    VIEW = "VIEW"
    TABLE = "TABLE"
    TRAINING_SET = "TRAINING_SET"


@dataclass(frozen=True)
class SharedObject:
    """An object in a share. `name` is that of a view or a table, or the id of a training set."""

    kind: SharedKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @classmethod
    def parse(cls, value: Any, settings: Settings) -> "SharedObject":
        """The object of a text such as `VIEW customer_orders`. Raises: RequestError for other text, and for tables not to be shared."""
        text = check_name(value, "on").strip()
        word, _, name = text.partition(" ")
        name = name.strip()
        try:
            kind = SharedKind(word.upper())
        except ValueError:
            known = near(word.upper(), [str(kind) for kind in SharedKind])
            raise RequestError(f"on={brief(text)}: {brief(word)} cannot be shared{known}; write, as in {_EXAMPLE}", field="on") from None
        if not name:
            raise RequestError(f"on={brief(text)}: write a kind and a name, such as {_EXAMPLE}", field="on")
        if kind is SharedKind.TABLE:
            name = local_name(name, settings.catalog_name)
            _refuse_table(name, settings)
        return cls(kind, name)

    def table_name(self, runtime: Runtime) -> str:
        """The table in the catalog that has its rows. Raises: NotFound for a view that is not applied, or for a view without a table."""
        if self.kind is SharedKind.VIEW:
            return runtime.features_table(read_registry(runtime).get("view", self.name).table)
        return self.securable(runtime.settings).name

    def securable(self, settings: Settings) -> Securable:
        """The object on which it needs privileges: a view, or a table."""
        if self.kind is SharedKind.VIEW:
            return Securable(Kind.VIEW, self.name)
        if self.kind is SharedKind.TRAINING_SET:
            return Securable(Kind.TABLE, f"{settings.training_sets_namespace}.{self.name.rpartition('-')[0]}")
        return Securable(Kind.TABLE, self.name)

    def require(self, rights: Rights, settings: Settings, *, reads: bool = True) -> None:
        """Check that a principal may share it: SHARE, and with `reads` READ. Raises: Forbidden."""
        on = self.securable(settings)
        for privilege in (Privilege.SHARE, Privilege.READ) if reads else (Privilege.SHARE,):
            rights.require(privilege, on.kind, on.name)

    def is_seen(self, rights: Rights, settings: Settings) -> bool:
        """Whether a principal may see that it exists."""
        return rights.allows(Privilege.USE, self.securable(settings))

    def load(self, runtime: Runtime) -> Table:
        """Load its table. Raises: NotFound if it is lost, or a training set was removed; NotReady."""
        table = tables.load(runtime.catalog, self.table_name(runtime))
        if self.kind is SharedKind.TRAINING_SET:
            self.pinned_snapshot(table)
        return table

    def pinned_snapshot(self, table: Table) -> int | None:
        """The only snapshot that is shared of its table; None: all that are kept. Raises: NotFound for a training set that is gone."""
        if self.kind is not SharedKind.TRAINING_SET:
            return None
        pinned = {tag.removeprefix(TAG): snapshot for tag, snapshot in tags.tags(table).items() if tag.startswith(TAG)}
        if self.name not in pinned:
            raise NotFound("training set", self.name, pinned)
        return pinned[self.name]

    def default_name(self) -> tuple[str, str]:
        """The schema and the name under which it is shared unless others are given."""
        if self.kind is SharedKind.TABLE:
            schema, _, name = self.name.rpartition(".")
            return schema.replace(".", "_"), name
        return "features" if self.kind is SharedKind.VIEW else "training_sets", self.name


def shared_name(value: Any, of: SharedObject) -> tuple[str, str]:
    """The schema and name of a text such as `sales.orders`; None: those of the object itself. Raises: RequestError."""
    if value is None:
        schema, name = (part.lower() for part in of.default_name())
    else:
        schema, _, name = check_name(value, "as_name").lower().partition(".")
    if not (_NAME.fullmatch(schema) and _NAME.fullmatch(name)):
        raise RequestError(
            f"as_name={brief(f'{schema}.{name}' if value is None else value)}: recipients see a table as schema.table, in letters,"
            " digits, _ and -; give such a name",
            field="as_name",
        )
    return schema, name


def check_share_name(value: Any, argument: str) -> str:
    """Check the name of a share or recipient, which is the same in any case. Raises: RequestError naming `argument`."""
    name = check_name(value, argument).lower()
    if not _NAME.fullmatch(name):
        raise RequestError(f"{argument}={brief(value)}: use 1 to 100 letters, digits, _ and -", field=argument)
    return name


def _refuse_table(name: str, settings: Settings) -> None:
    namespace = name.rpartition(".")[0]
    if not namespace:
        raise RequestError(f"on={brief(name)}: write a table with its namespace, as in TABLE shop.orders", field="on")
    if is_in(name, *settings.record_namespaces):
        raise RequestError(f"on={brief(name)}: the tables of {namespace} are the store's own, and cannot be shared", field="on")
    if is_in(name, settings.features_namespace):
        raise RequestError(f"on={brief(name)}: share a feature table as its view, as in {_EXAMPLE}", field="on")
