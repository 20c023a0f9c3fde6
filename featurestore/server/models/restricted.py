"""As whom a model looks up features for a request."""

from typing import TYPE_CHECKING

from featurestore.access.rights import Rights

if TYPE_CHECKING:
    from featurestore.models import LoadedModel


def restricted_reader(rights: Rights, model: "LoadedModel") -> Rights | None:
    """The rights, if policies are in force for them on any view of the model; None if it looks up all rows as they are.

    Raises: NotReady if policies were not read lately.
    """
    return None if rights.is_unlimited or not rights.policies_of_tables(model.tables) else rights
