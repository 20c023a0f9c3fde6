"""Response bodies of the Open Inference Protocol."""

from typing import Any

from featurestore.server.responses.answer import Answer


class ServerLive(Answer):
    """The process responds."""

    live: bool


class ServerReady(Answer):
    """The server can answer requests."""

    ready: bool


class ServerMetadata(Answer):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Answer):
    """A tensor of a model; -1 in its shape is any number. With the parameter `optional`, it may be left out."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Answer):
    """A model with its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(Answer):
    """A model that can answer requests."""

    name: str
    ready: bool


class OutputTensor(TensorMetadata):
    """A tensor of a response, with its values in row-major order."""

    data: list[Any]


class InferenceResponse(Answer):
    """Predictions; `parameters` has the model's id, and the snapshot and watermark of each feature table."""

    model_name: str
    model_version: str | None = None
    id: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


class MlflowDelivery(Answer):
    """What became of a delivery of MLflow's webhooks: `accepted`, `known` from before, or `ignored`, as it is not about models."""

    id: str
    state: str
