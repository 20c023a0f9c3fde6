"""Typed request bodies; unknown fields are rejected."""

from featurestore.server.requests.body import Body
from featurestore.server.requests.definitions import ApplyBody, DefinitionsBody, PlanBody
from featurestore.server.requests.jobs import (
    ComparisonBody,
    MaintenanceBody,
    MaterializationBody,
    PublicationBody,
    RebuildBody,
    RepairBody,
    VerificationBody,
)
from featurestore.server.requests.online import OnlineBody
from featurestore.server.requests.predictions import InferenceBody, InvocationBody
from featurestore.server.requests.push import PushBody
from featurestore.server.requests.tables import (
    LookupFields,
    LookupTrainingSetBody,
    SourceWriteBody,
    SourceWriteFields,
    TableBody,
    WriteBody,
    WriteFields,
)
from featurestore.server.requests.training_sets import JoinBody, JoinFields, TrainingSetBody, TrainingSetFields

__all__ = [
    "ApplyBody",
    "Body",
    "ComparisonBody",
    "DefinitionsBody",
    "InferenceBody",
    "InvocationBody",
    "JoinBody",
    "JoinFields",
    "LookupFields",
    "LookupTrainingSetBody",
    "MaintenanceBody",
    "MaterializationBody",
    "OnlineBody",
    "PlanBody",
    "PublicationBody",
    "PushBody",
    "RebuildBody",
    "RepairBody",
    "SourceWriteBody",
    "SourceWriteFields",
    "TableBody",
    "TrainingSetBody",
    "TrainingSetFields",
    "VerificationBody",
    "WriteBody",
    "WriteFields",
]
