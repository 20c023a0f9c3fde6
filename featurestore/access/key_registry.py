"""The registries of keys in a catalog: of API keys, and of others that are made, rotated and revoked in the same way."""

from dataclasses import dataclass

from featurestore.access.tokens import PREFIX
from featurestore.settings import Settings


@dataclass(frozen=True)
class KeyRegistry:
    """A registry of keys. A token of one is none of another: each has a table and a prefix of its own.

    `table` and `uses` are tables in the registry's namespace; `noun` is what messages call a key.
    """

    table: str
    uses: str
    noun: str
    prefix: str

    def keys_table(self, settings: Settings) -> str:
        """The name of the table of keys in the catalog."""
        return f"{settings.registry_namespace}.{self.table}"

    def uses_table(self, settings: Settings) -> str:
        """The name of the table of their last uses in the catalog."""
        return f"{settings.registry_namespace}.{self.uses}"


API_KEYS = KeyRegistry("keys", "key_uses", "API key", PREFIX)
"""Those of principals who use the store itself."""
