"""What a server lists, as exchanges: its parts, definitions, training sets and models."""

from featurestore.client.arguments import path_part
from featurestore.client.calls import Calls
from featurestore.client.steps import Exchange
from featurestore.client.transport import Transport
from featurestore.pipelines.training_sets.listing import TrainingSetInfo
from featurestore.records.health import ServerHealth
from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
from featurestore.records.names import service_name, view_name


class ListingVerbs:
    """The methods that list what there is."""

    def __init__(self, transport: Transport) -> None:
        """`transport` reads the rows of training sets, whenever they are asked for."""
        self._transport, self._url, self._calls = transport, transport.url, Calls(transport.url)

    def parts(self) -> Exchange[ServerHealth]:
        """The state of each component of the server, and of each verb that it serves. Raises: NotReady naming components that are down."""
        return ServerHealth((yield from self._calls.get_object("/readyz")))

    def entities(self) -> Exchange[list[EntityInfo]]:
        """The applied entities."""
        return self._calls.get_results(EntityInfo, "/v1/entities")

    def sources(self) -> Exchange[list[SourceInfo]]:
        """The applied sources."""
        return self._calls.get_results(SourceInfo, "/v1/sources")

    def views(self) -> Exchange[list[ViewInfo]]:
        """The newest version of every view, with its snapshot and watermark."""
        return self._calls.get_results(ViewInfo, "/v1/views")

    def view(self, name: str) -> Exchange[ViewDetail]:
        """One view with all versions and the SQL of the newest. Raises: NotFound with the nearest names."""
        return self._calls.get_result(ViewDetail, f"/v1/views/{path_part(view_name(name), 'name')}")

    def services(self) -> Exchange[list[ServiceInfo]]:
        """Every service at the version that is served."""
        return self._calls.get_results(ServiceInfo, "/v1/services")

    def service(self, name: str) -> Exchange[ServiceDetail]:
        """One service: features, request fields, key columns, versions. Raises: NotFound with the nearest names."""
        return self._calls.get_result(ServiceDetail, f"/v1/services/{path_part(service_name(name), 'name')}")

    def training_sets(self) -> Exchange[list[TrainingSetInfo]]:
        """Every training set, newest first."""
        return self._calls.get_results(TrainingSetInfo, "/v1/training-sets")

    def models(self) -> Exchange[list[ModelInfo]]:
        """Every version of every model that was logged with a training set, newest first, with its aliases."""
        return self._calls.get_results(ModelInfo, "/v1/models")
