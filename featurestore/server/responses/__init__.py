"""Response bodies as OpenAPI describes them; fields that the store adds are sent too."""

from featurestore.server.responses.answer import ErrorAnswer
from featurestore.server.responses.definitions import (
    ColumnLineage,
    Entity,
    Impact,
    Plan,
    Removal,
    Service,
    ServiceDetail,
    Source,
    View,
    ViewDetail,
)
from featurestore.server.responses.jobs import (
    AcceptedJob,
    ComparisonState,
    JobState,
    Maintenance,
    Materialization,
    Publication,
    Rebuild,
    Repairs,
    Verification,
)
from featurestore.server.responses.online import Model, OnlineFeatures, Predictions
from featurestore.server.responses.tables import Pushed, SourceWrite, TableEvent, TableWrite
from featurestore.server.responses.training_sets import (
    RebuildResult,
    Statistics,
    TrainingSetFiles,
    TrainingSetRemoval,
    TrainingSetState,
    TrainingSetSummary,
)

__all__ = [
    "AcceptedJob",
    "ColumnLineage",
    "ComparisonState",
    "Entity",
    "ErrorAnswer",
    "Impact",
    "JobState",
    "Maintenance",
    "Materialization",
    "Model",
    "OnlineFeatures",
    "Plan",
    "Predictions",
    "Publication",
    "Pushed",
    "Rebuild",
    "RebuildResult",
    "Removal",
    "Repairs",
    "Service",
    "ServiceDetail",
    "Source",
    "SourceWrite",
    "Statistics",
    "TableEvent",
    "TableWrite",
    "TrainingSetFiles",
    "TrainingSetRemoval",
    "TrainingSetState",
    "TrainingSetSummary",
    "Verification",
    "View",
    "ViewDetail",
]
