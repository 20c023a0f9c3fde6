"""A stamped model's artifacts: the native files as they were, an MLmodel that points to our loader, and a folder with the stamp."""

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from featurestore.errors import MissingExtra, RequestError
from featurestore.models import pickles
from featurestore.models.flavor import reads_matrix, takes_nullable
from featurestore.models.mlflow_client import mlflow
from featurestore.models.signature import serving_signature
from featurestore.models.stamp import FOLDER, MANIFEST, ORIGINAL, STAMP, Stamp, read_stamp

LOADER = "featurestore.models.loader"
PYFUNC = "python_function"
_FEW = 256
"""Rows that one thread predicts faster than it could share them out."""
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "pytorch_lightning": "pytorch-lightning", "PIL": "pillow", "cv2": "opencv-python"}
"""Packages that pip knows by another name than Python does."""
OWN_CONFIG = {"home": None, "catalog": None, "warehouse": None, "online": None, "missing": None}
"""What `mlflow.pyfunc.load_model(uri, model_config=...)` may say, beside the model's own: MLflow passes on what it finds listed."""


def wrap(folder: Path, meta: Any, stamp: Stamp, manifest: Mapping[str, Any], native_signature: Any) -> None:
    """Turn a native model's artifacts into a stamped one's. `meta` is MLflow's Model object of the folder; it is changed and saved.

    Raises: RequestError when the model's own configuration has a name that is ours.
    """
    flavor = meta.flavors.get(PYFUNC)
    if flavor is None:
        raise RequestError("the model has no python_function flavor, so MLflow could not call it; log it with one")
    taken = sorted(set(flavor.get("config") or {}) & set(OWN_CONFIG))
    if taken:
        raise RequestError(f"the model's model_config has {taken}, which say where the feature store is; name them otherwise")
    (folder / FOLDER).mkdir()
    meta.signature = native_signature
    meta.save(str(folder / FOLDER / ORIGINAL))
    kept = {name: flavor[name] for name in ("env", "python_version", "code") if name in flavor}
    meta.flavors[PYFUNC] = {"loader_module": LOADER, **kept, "config": {**(flavor.get("config") or {}), **OWN_CONFIG}}
    meta.signature = serving_signature(stamp.plan, native_signature.outputs if native_signature is not None else None)
    meta.metadata = {**(meta.metadata or {}), **stamp.metadata()}
    meta.save(str(folder / ORIGINAL))
    (folder / FOLDER / STAMP).write_text(json.dumps(stamp.to_dict(), indent=1))
    (folder / FOLDER / MANIFEST).write_text(json.dumps(manifest, indent=1))


class Native:
    """The native model of a stamped model's folder, and its stamp.

    It is loaded from links beside its own MLmodel, which stay for as long as this object: models read files when called.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None, allow_pickle: bool = True) -> None:
        """Raises: RequestError for a model without a stamp, and without `allow_pickle` for one that could run code; MissingExtra without
        the package that it was made with.
        """
        self.stamp = read_stamp(folder)
        if not allow_pickle:
            pickles.refuse(folder)
        links = tempfile.mkdtemp(prefix="featurestore-model-")
        weakref.finalize(self, shutil.rmtree, links, True)
        for name in os.listdir(folder):
            if name not in (FOLDER, ORIGINAL):
                os.symlink(folder.absolute() / name, Path(links, name))
        self.model = open_native(folder / FOLDER / ORIGINAL, Path(links), config)
        self.matrix = reads_matrix(raw(self.model))
        self.nullable = takes_nullable(self.model.loader_module)
        # MLflow's flavors but scikit-learn's know no other method than predict.
        self._predict = self.model.predict if self.stamp.predict_fn is None else getattr(raw(self.model), self.stamp.predict_fn)
        # It knows the libraries that are loaded by now.
        self._threads = ThreadpoolController()

    def predict(self, frame: Any) -> Any:
        """The model's own answer for a frame of its inputs."""
        # OpenMP hands even one row to a thread for each core, and waits for all: on a busy machine for tens of milliseconds.
        with self._threads.limit(limits=1, user_api="openmp") if len(frame) <= _FEW else nullcontext():
            return self._predict(frame)


def raw(model: Any) -> Any:
    """The object that was saved; the PyFuncModel itself for one that does not give it away, such as a PythonModel."""
    try:
        return model.get_raw_model()
    except NotImplementedError:
        return model


def open_native(original: Path, folder: Path, config: Mapping[str, Any] | None = None) -> Any:
    """A native model as MLflow's PyFuncModel, its MLmodel put into `folder` beside its files.

    Without a signature: what it is given here has the types it was trained on already. Raises: MissingExtra naming the package
    that the model was made with, where it is not installed.
    """
    meta: Any = mlflow.models.Model.load(str(original))
    meta.signature = None
    meta.saved_input_example_info = None
    meta.save(str(folder / ORIGINAL))
    listed = meta.flavors[PYFUNC].get("config") or {}
    own = {name: value for name, value in (config or {}).items() if name in listed}
    try:
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True, model_config=own or None)
    except ModuleNotFoundError as error:
        module = (error.name or "of an unknown name").partition(".")[0]
        raise MissingExtra(_DISTRIBUTIONS.get(module, module), what="the model") from error
