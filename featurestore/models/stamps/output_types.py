"""What a model predicts, as far as it says so before its first prediction."""

from typing import Any

import numpy as np

from featurestore.models.stamps.bundle import PYFUNC, Native, saved_object


def output_type(native: Native) -> tuple[str, int | None]:
    """The type of a prediction, one of bool, int, float and text, and the number of values for each row, None for one value.

    Classifiers of scikit-learn and the like have classes; everything else is assumed to predict numbers.
    """
    classes: Any = getattr(saved_object(native.model), "classes_", None)
    method = native.stamp.predict_fn or native.model.metadata.flavors[PYFUNC].get("predict_fn", "predict")
    if classes is None or method != "predict":
        return "float", None if classes is None or method != "predict_proba" else len(classes)
    kind = np.asarray(classes).dtype.kind
    return {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(kind, "text"), None
