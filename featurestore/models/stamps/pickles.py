"""Refuse models that could execute code when they are loaded, by their MLmodel and files, before loading anything."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import RequestError
from featurestore.models.mlflow_access.mlflow_client import mlflow
from featurestore.models.stamps.stamp import FOLDER, ORIGINAL

PYFUNC = "python_function"
LOADERS = {"mlflow.sklearn": "sklearn", "mlflow.xgboost": "xgboost", "mlflow.lightgbm": "lightgbm", "mlflow.catboost": "catboost"}
"""Loaders that can read data-only formats, with the flavor that names the format; all other loaders may execute code."""
CLASSES = {
    "xgboost": ("xgboost.core.", "xgboost.sklearn."),
    "lightgbm": ("lightgbm.basic.Booster",),
    "catboost": ("catboost.core.",),
}
"""Classes that a flavor may name in its MLmodel, which are imported and called."""
DATA = (".json", ".ubj", ".xgb", ".lgb", ".txt", ".cb", ".cbm", ".skops", ".yaml", ".yml", ".md", "")
"""Suffixes of data files; files with other suffixes are refused."""
TRUSTED = (
    "sklearn.",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.random._pickle",
    "scipy.sparse.",
    "xgboost.",
    "lightgbm.",
    "collections.OrderedDict",
)
"""Types in skops files that are trusted, besides those that skops trusts."""
PICKLED = tuple(bytes([0x80, version]) for version in range(6))
"""The first bytes of pickles, from protocol 2 on."""


def refuse_pickles(folder: Path) -> None:
    """Raises: RequestError for a model whose files or loader could execute code: any but skops and the boosters' own formats."""
    flavors, loader = _flavors(folder)
    why = next(_reasons(folder, flavors, loader), None)
    if why is not None:
        flavor = LOADERS.get(loader, loader.removeprefix("mlflow."))
        raise RequestError(
            f"the model of the flavor {flavor} is refused, because {why}: loading it could execute code, and the setting allow_pickle is"
            " false; log it with serialization_format='skops', or in its library's own format",
            flavor=flavor,
        )


def _flavors(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The flavors in a model's MLmodel, and the module that loads it."""
    original = folder / FOLDER / ORIGINAL
    flavors: Mapping[str, Any] = mlflow.models.Model.load(str(original if original.is_file() else folder / ORIGINAL)).flavors
    return flavors, str((flavors.get(PYFUNC) or {}).get("loader_module"))


def _reasons(folder: Path, flavors: Mapping[str, Any], loader: str) -> Iterator[str]:
    pyfunc = flavors.get(PYFUNC) or {}
    if loader not in LOADERS:
        yield f"it is loaded by {loader}{_describe_loading(pyfunc)}"
        return
    if pyfunc.get("code"):
        yield "it has Python files"
    flavor = LOADERS[loader]
    yield from _format_reasons(flavor, flavors.get(flavor) or {})
    yield from _file_reasons(folder)


def _describe_loading(pyfunc: Mapping[str, Any]) -> str:
    """What a loader that is not of LOADERS does with which file, as far as the MLmodel says it."""
    if code := pyfunc.get("model_code_path"):
        return f", which runs its file {Path(str(code)).name}: a model from code is code"
    if model := pyfunc.get("python_model"):
        return f", which unpickles its file {model}"
    return f", which may unpickle files below {data}" if (data := pyfunc.get("data")) else ""


def _format_reasons(flavor: str, options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("code"):
        yield "it has Python files"
    serialization = options.get("serialization_format", "pickle" if flavor == "sklearn" else None)
    if serialization not in (None, "skops"):
        file = options.get("pickled_model") or options.get("data")
        yield f"its file {file} is written with {serialization}" if file else f"it is written with {serialization}"
    skops = serialization == "skops"
    class_name = str(options.get("model_class", CLASSES.get(flavor, ("",))[0]))
    if not skops and flavor in CLASSES and not class_name.startswith(CLASSES[flavor]):
        yield f"it is of the class {class_name}"
    for type_name in options.get("skops_trusted_types") or []:
        if not str(type_name).startswith(TRUSTED):
            yield f"its file may contain {type_name}"


def _file_reasons(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file():
            continue
        if path.suffix.lower() not in DATA:
            yield f"its file {name} is of an unknown type"
            continue
        with path.open("rb") as file:
            first_bytes = file.read(2)
        if first_bytes in PICKLED:
            yield f"its file {name} is a pickle"
        if first_bytes == b"PK" and (path.suffix.lower() != ".skops" or not _holds_data(path)):
            yield f"its file {name} is an archive that may contain pickles"


def _holds_data(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(Path(name).suffix in (".json", ".npy", ".npz") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
