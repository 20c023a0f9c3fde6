"""What one principal may do: the checks that every verb and every route makes."""

from collections.abc import Iterable
from dataclasses import dataclass

from featurestore.access.grant_book import GrantBook
from featurestore.access.policy_book import PoliciesInForce, PolicyBook
from featurestore.access.principal import LOCAL, Principal
from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.compiler.row_policy import OPEN, RowPolicy
from featurestore.dsl.policy import TablePolicy
from featurestore.errors import Forbidden, NotFound, NotReady
from featurestore.lakehouse import granted
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.lakehouse.table import Table
from featurestore.records.reader import ReadableKind
from featurestore.values.table_names import CATALOG as CATALOG_NAME

_CATALOG = Securable(Kind.CATALOG, CATALOG_NAME)
_NAMED_KINDS = {"view": Kind.VIEW, "service": Kind.SERVICE, "model": Kind.MODEL, "table": Kind.TABLE, "table or view": Kind.VIEW}
"""Of errors about names that are not found, the kinds whose names may be hidden."""
_OPEN_KINDS = ("column", "feature", "version", "alias", "part", "row")
"""Those about something in an object that is named itself, whose names its readers know."""


@dataclass(frozen=True)
class Rights:
    """The rights of a principal. `book` has the grants and `policies` the policies; None for administrators only, who need none."""

    principal: Principal
    book: GrantBook | None = None
    policies: PolicyBook | None = None

    @property
    def is_unlimited(self) -> bool:
        """Whether the principal may do everything."""
        return self.principal.is_administrator

    def frozen(self) -> "Rights":
        """The rights as they are now, whatever is granted, revoked or hidden later. Raises: NotReady."""
        if self.is_unlimited:
            return self
        book = None if self.book is None else self.book.frozen()
        return Rights(self.principal, book, None if self.policies is None else self.policies.frozen())

    @property
    def has_any(self) -> bool:
        """Whether the principal has any privilege at all. Raises: NotReady."""
        return self.is_unlimited or (self.book is not None and self.book.knows(self.principal))

    @property
    def catalog(self) -> Securable:
        """The catalog, as users call it."""
        return _CATALOG if self.book is None else self.book.catalog

    def allows(self, privilege: Privilege, on: Securable) -> bool:
        """Whether the principal has a privilege on an object, or on one that contains it. Raises: NotReady."""
        return self.principal.is_administrator or (self.book is not None and self.book.allows(self.principal, privilege, on))

    def has(self, privilege: Privilege, kind: Kind, name: str) -> bool:
        """As `allows`, for the object of a kind and name."""
        return self.principal.is_administrator or self.allows(privilege, Securable(kind, name))

    def sees(self, kind: Kind, name: str) -> bool:
        """Whether the principal may see that an object exists."""
        return self.has(Privilege.USE, kind, name)

    def require(self, privilege: Privilege, kind: Kind, name: str) -> None:
        """Check that the principal has a privilege. Raises: Forbidden, whether or not the object exists; NotReady."""
        on = Securable(kind, name)
        if not self.allows(privilege, on):
            exists = "" if kind is Kind.CATALOG else f", or there is no such {kind.lower()}"
            raise Forbidden(
                f"{self.principal.name} does not have {privilege} on {on}{exists};"
                f" whoever manages it grants it: featurestore grant {privilege} ON {on} TO USER {self.principal.name}",
                privilege=str(privilege),
                on=str(on),
                principal=self.principal.name,
            )

    def require_catalog(self, privilege: Privilege) -> None:
        """Check that the principal has a privilege on the catalog. Raises: as `require`."""
        self.require(privilege, Kind.CATALOG, self.catalog.name)

    def check_author(self, named: str | None, argument: str) -> str:
        """Who is recorded for a change: the principal, or whom an administrator names instead. Raises: Forbidden if anybody else does."""
        name = self.principal.name
        if not self.is_unlimited and named not in (None, name):
            raise Forbidden(f"{argument}: you are {name}, and only an administrator may record the decision of another", principal=name)
        return name if named is None else named

    def permit(self, kind: ReadableKind, name: str, through: Iterable[str] = ()) -> Permit:
        """Check READ on an object; the permit is for a table of that name, and for those in `through`. Raises: as `require`."""
        self.require(Privilege.READ, Kind(kind), name)
        return granted.issue_permit(self.principal.name, f"{kind} {name}", [name, *through] if kind == Kind.TABLE else through)

    def grant(self, table: Table, permit: Permit) -> Granted:
        """The table for the principal. Raises: Forbidden if the permit is not for this table."""
        return granted.issue(table, permit)

    @property
    def recorded_name(self) -> str | None:
        """What a verb records as for whom it read rows."""
        return self.principal.name

    @property
    def sees_everything(self) -> bool:
        """Whether no policy is ever in force for the principal."""
        return self.is_unlimited

    @property
    def is_under_policies(self) -> bool:
        """Whether any policy is in force for the principal. Raises: NotReady."""
        return not self.is_unlimited and self._policies.has_any(self.principal.groups)

    def declared_policy(self, on: Securable) -> TablePolicy | None:
        """The policy of an object, whomever it is for; None if it has none. Raises: NotReady."""
        stored = None if self.is_unlimited else self._policies.find(on)
        return None if stored is None else stored.policy

    def policy_of_view(self, view: str) -> RowPolicy:
        """What is in force for the principal on a view, all of whose versions it holds for. Raises: NotReady."""
        return OPEN if self.is_unlimited else self._policies.policy(self.principal.groups, Kind.VIEW, view)

    def policy_of_table(self, table: str) -> RowPolicy:
        """What is in force for the principal on a table of the catalog; on a feature table, that of its view. Raises: NotReady."""
        return OPEN if self.is_unlimited else self._policies.policy_of_table(self.principal.groups, table)

    def policies_of_tables(self, tables: tuple[str, ...]) -> PoliciesInForce:
        """As `policy_of_table`, of several tables: only the policies that hide something. Raises: NotReady."""
        return () if self.is_unlimited else self._policies.policies_of_tables(self.principal.groups, tables)

    def require_files(self) -> None:
        """Check that the principal may read files of this machine, which only administrators may. Raises: Forbidden."""
        self.require_unlimited("reading files of the store's machine")

    def require_unlimited(self, what: str) -> None:
        """Check that the principal is an administrator. Raises: Forbidden naming `what` needs it."""
        if not self.is_unlimited:
            raise Forbidden(
                f"{what} needs the rights of an administrator, which {self.principal.name} does not have; ask one to do it, or for an API"
                " key with them (featurestore key create NAME --admin)",
                principal=self.principal.name,
            )

    def without_hidden_names(self, error: NotFound) -> NotFound:
        """The error without near misses that the principal may not see."""
        kind, name, known = (error.details.get(field) for field in ("kind", "name", "known"))
        if self.is_unlimited or self.allows(Privilege.USE, self.catalog) or kind in _OPEN_KINDS:
            return error
        where = error.where if kind == "snapshot" else ""
        return NotFound(str(kind), str(name), self._visible(str(kind), known or ()) or None, where)

    @property
    def _policies(self) -> PolicyBook:
        if self.policies is None:
            raise NotReady("the policies of the store were not read")
        return self.policies

    def _visible(self, kind: str, names: Iterable[str]) -> list[str]:
        if kind == "snapshot":
            # Ids, which readers of the table know; not the names of versions, which pin other tables too.
            return [name for name in names if name.isdigit()]
        named_kind = _NAMED_KINDS.get(kind)
        return [] if named_kind is None else [name for name in names if self.sees(named_kind, name)]


OPERATOR = Rights(LOCAL)
"""Of a store in this process: whoever has the files has the data."""
