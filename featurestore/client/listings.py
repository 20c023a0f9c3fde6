"""What a server lists: definitions, training sets, models, and the health of its components."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from featurestore.client.calls import Calls
from featurestore.client.transport import Transport
from featurestore.pipelines.training_sets.listing import TrainingSetInfo
from featurestore.records.health import ServerHealth
from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
from featurestore.records.names import service_name, view_name
from featurestore.values.arguments import check_name


class RemoteListings:
    """The methods that describe what is there. A context manager that closes the connections."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._calls = Calls(transport)

    def parts(self) -> ServerHealth:
        """The state of each component of the server, and of each verb that it serves. Raises: NotReady naming components that are down."""
        return ServerHealth(self._calls.get_object("/readyz"))

    def entities(self) -> list[EntityInfo]:
        """The applied entities."""
        return self._calls.get_results(EntityInfo, "/v1/entities")

    def sources(self) -> list[SourceInfo]:
        """The applied sources."""
        return self._calls.get_results(SourceInfo, "/v1/sources")

    def views(self) -> list[ViewInfo]:
        """The newest version of every view, with its snapshot and watermark."""
        return self._calls.get_results(ViewInfo, "/v1/views")

    def view(self, name: str) -> ViewDetail:
        """One view with all versions and the SQL of the newest. Raises: NotFound with the nearest names."""
        return self._calls.get_result(ViewDetail, f"/v1/views/{path_part(view_name(name), 'name')}")

    def services(self) -> list[ServiceInfo]:
        """Every service at the version that is served."""
        return self._calls.get_results(ServiceInfo, "/v1/services")

    def service(self, name: str) -> ServiceDetail:
        """One service: features, request fields, key columns, versions. Raises: NotFound with the nearest names."""
        return self._calls.get_result(ServiceDetail, f"/v1/services/{path_part(service_name(name), 'name')}")

    def training_sets(self) -> list[TrainingSetInfo]:
        """Every training set, newest first."""
        return self._calls.get_results(TrainingSetInfo, "/v1/training-sets")

    def models(self) -> list[ModelInfo]:
        """Every version of every model that was logged with a training set, newest first, with its aliases."""
        return self._calls.get_results(ModelInfo, "/v1/models")

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def path_part(value: Any, argument: str) -> str:
    """A name, quoted as a part of a path."""
    return quote(check_name(value, argument), safe=":")
