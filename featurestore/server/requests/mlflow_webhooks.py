"""The body of a delivery of MLflow's webhooks, of which MLflow's versions may send more than is read."""

from pydantic import BaseModel, Field


class MlflowChange(BaseModel):
    """What has changed. Only the name is read, which events of other things than models may lack."""

    name: str | None = Field(default=None, min_length=1, max_length=256, description="name of the registered model")


class MlflowWebhookBody(BaseModel):
    """A delivery: `entity` and `action` name the event, as in `model_version_alias` `created`."""

    entity: str = Field(max_length=64)
    action: str = Field(max_length=64)
    data: MlflowChange
