"""The artifacts of a stamped model: the native files, an MLmodel that names our loader, and a folder with the stamp."""

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from featurestore.errors import Conflict, MissingExtra, RequestError, near
from featurestore.models.frames.bare_estimator import only_computes, without_names
from featurestore.models.frames.inputs import are_numbers
from featurestore.models.mlflow_access.mlflow_client import mlflow
from featurestore.models.mlflow_access.mlmodel import read_mlmodel
from featurestore.models.stamps import pickles
from featurestore.models.stamps.flavor import reads_matrix, takes_nullable
from featurestore.models.stamps.openmp import OpenMp
from featurestore.models.stamps.signature import serving_signature
from featurestore.models.stamps.stamp import FOLDER, MANIFEST, ORIGINAL, STAMP, Stamp, read_stamp

LOADER = "featurestore.models.loader"
PYFUNC = "python_function"
_SINGLE_THREAD_ROWS = 256
"""Up to this many rows, one thread predicts faster than several."""
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "pytorch_lightning": "pytorch-lightning", "PIL": "pillow", "cv2": "opencv-python"}
"""Packages whose name in pip differs from their module's."""
BESIDE = (
    "registered_model_meta",
    "input_example.json",
    "serving_input_example.json",
    "requirements.txt",
    "conda.yaml",
    "python_env.yaml",
)
"""Files that are not read for predictions; MLflow adds the first when it downloads a version, and may change the last three."""
OWN_CONFIG = {"home": None, "catalog": None, "warehouse": None, "online": None, "missing": None}
"""Our keys of `model_config` in `mlflow.pyfunc.load_model`: MLflow passes only keys that the MLmodel lists."""


def wrap(folder: Path, meta: Any, stamp: Stamp, manifest: Mapping[str, Any], native_signature: Any) -> None:
    """Turn the artifacts of a native model into those of a stamped one; `meta`, MLflow's Model of the folder, is changed and saved.

    Raises: RequestError if the model's own configuration has one of our keys.
    """
    flavor = meta.flavors.get(PYFUNC)
    if flavor is None:
        raise RequestError("the model has no python_function flavor, so MLflow cannot predict with it; log it with that flavor")
    taken = sorted(set(flavor.get("config") or {}) & set(OWN_CONFIG))
    if taken:
        raise RequestError(f"the model's model_config has the keys {taken}, which locate the feature store; rename them")
    (folder / FOLDER).mkdir()
    meta.signature = native_signature
    meta.save(str(folder / FOLDER / ORIGINAL))
    stamp = replace(stamp, files=digests_of(folder))
    kept = {name: flavor[name] for name in ("env", "python_version", "code") if name in flavor}
    meta.flavors[PYFUNC] = {"loader_module": LOADER, **kept, "config": {**(flavor.get("config") or {}), **OWN_CONFIG}}
    meta.signature = serving_signature(stamp.plan, native_signature)
    meta.metadata = {**(meta.metadata or {}), **stamp.metadata()}
    meta.save(str(folder / ORIGINAL))
    (folder / FOLDER / STAMP).write_text(json.dumps(stamp.to_dict(), indent=1))
    (folder / FOLDER / MANIFEST).write_text(json.dumps(manifest, indent=1))


class Native:
    """The native model in the folder of a stamped model, and its stamp.

    It is loaded from a folder of links with its own MLmodel. The links exist as long as this object, since models may read files later.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any] | None = None, allow_pickle: bool = True, address: str = "the model"
    ) -> None:
        """Raises: RequestError naming the address of a model without a stamp, or, without `allow_pickle`, for one that could execute code;
        MissingExtra if the model's library is not installed.
        """
        self.stamp = read_stamp(folder, address)
        check_files(folder, self.stamp)
        if not allow_pickle:
            pickles.refuse_pickles(folder)
        links = tempfile.mkdtemp(prefix="featurestore-model-")
        weakref.finalize(self, shutil.rmtree, links, True)
        for name in os.listdir(folder):
            if name not in (FOLDER, ORIGINAL):
                os.symlink(folder.absolute() / name, Path(links, name))
        self.model = open_native(folder / FOLDER / ORIGINAL, Path(links), config)
        self.matrix = are_numbers(self.stamp.inputs) and reads_matrix(saved_object(self.model))
        self.nullable = takes_nullable(self.model.loader_module)
        # Of MLflow's flavors, only scikit-learn's supports other methods than predict.
        method = self.stamp.predict_fn
        self._predict = self.model.predict if method is None else getattr(saved_object(self.model), method)
        bare = without_names(saved_object(self.model)) if self.matrix and self.stamp.named else None
        # MLflow's wrapper calls `predict` and nothing else, unless the model was logged with another method.
        self._predict_bare = None if bare is None else getattr(bare, method or _logged_method(self.model))
        self.only_computes = bare is not None and only_computes(bare)
        """Whether a prediction runs code of scikit-learn alone, in one thread: it neither waits nor hangs."""
        self._params = getattr(self.model.metadata.signature, "params", None)
        # Created after the model's libraries are loaded, because it controls only those.
        self._openmp = OpenMp()

    @property
    def named(self) -> bool:
        """Whether frames for `predict` have the names of the columns."""
        return self.stamp.named and self._predict_bare is None

    def check_params(self, params: Mapping[str, Any] | None, field: str = "params") -> dict[str, Any]:
        """The parameters of the model's signature for a prediction, as a request names them.

        Raises: RequestError for an unknown one, or a value of another type.
        """
        specs = {spec.name: spec for spec in self._params.params} if self._params is not None else {}
        checked = {}
        for name, value in (params or {}).items():
            if name not in specs:
                known = f"; its parameters are {', '.join(specs)}" if specs else "; its signature has no parameters"
                raise RequestError(f"{field}: the model has no parameter '{name}'{near(name, specs)}{known}", field=f"{field}.{name}")
            try:
                checked[name] = mlflow.types.schema.ParamSpec.validate_param_spec(value, specs[name])
            except mlflow.exceptions.MlflowException as error:
                raise RequestError(
                    f"{field}: '{name}' must be {specs[name].dtype.name}, not {type(value).__name__}", field=f"{field}.{name}"
                ) from error
        return checked

    def predict(self, frame: Any, params: Mapping[str, Any] | None = None, *, in_one_thread: bool = False) -> Any:
        """The native model's result for a frame of its inputs, and for parameters if its signature has some.

        `in_one_thread`: without threads of OpenMP, also for many rows.
        """
        if len(frame) > _SINGLE_THREAD_ROWS and not in_one_thread:
            return self._call(frame, params)
        # OpenMP uses a thread per core even for one row, which takes tens of milliseconds on a busy machine.
        return self._openmp.call_in_one_thread(lambda: self._call(frame, params))

    def _call(self, frame: Any, params: Mapping[str, Any] | None) -> Any:
        if self._predict_bare is not None:
            # scikit-learn's models have no parameters: MLflow drops those of their signatures.
            return self._predict_bare(frame)
        return self._predict(frame, params=dict(params)) if params else self._predict(frame)


def _logged_method(model: Any) -> str:
    """The method that MLflow calls for predictions of a scikit-learn model."""
    return str(model.metadata.flavors[PYFUNC].get("predict_fn", "predict"))


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 digests of the files of a native model by their paths, without those that MLflow or we write beside them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in paths}
    others = (FOLDER, ORIGINAL, *BESIDE)
    return {name: _digest(path) for name, path in names.items() if name == f"{FOLDER}/{ORIGINAL}" or name.partition("/")[0] not in others}


def check_files(folder: Path, stamp: Stamp) -> None:
    """Raises: Conflict naming a file of a model that is not the one that was stamped."""
    if stamp.files is None:
        return
    digests = digests_of(folder)
    for name in sorted({*digests, *stamp.files}):
        if digests.get(name) != stamp.files.get(name):
            state = "is missing" if name not in digests else "was added" if name not in stamp.files else "has other content"
            raise Conflict(
                f"the model's file {name} {state} since it was stamped (training set {stamp.training_set}): restore it, or log the model"
                " again",
                file=name,
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def saved_object(model: Any) -> Any:
    """The saved object; the PyFuncModel itself if it does not expose one, as for a PythonModel."""
    try:
        return model.get_raw_model()
    except NotImplementedError:
        return model


def open_native(original: Path, folder: Path, config: Mapping[str, Any] | None = None) -> Any:
    """Load a native model as MLflow's PyFuncModel, with its MLmodel copied to `folder`, which has its files.

    Only the parameters of the signature are kept, because our frames already have the types of the training. Raises: MissingExtra naming
    the model's library if it is not installed.
    """
    meta = read_mlmodel(original)
    params = getattr(meta.signature, "params", None)
    meta.signature = mlflow.models.ModelSignature(params=params) if params else None
    meta.saved_input_example_info = None
    meta.save(str(folder / ORIGINAL))
    listed = meta.flavors[PYFUNC].get("config") or {}
    options = {name: value for name, value in (config or {}).items() if name in listed}
    try:
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True, model_config=options or None)
    except ModuleNotFoundError as error:
        module = (error.name or "unknown").partition(".")[0]
        raise MissingExtra(_DISTRIBUTIONS.get(module, module), what="the model") from error
