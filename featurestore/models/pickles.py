"""Whether loading a model can run code that its writer chose: looked at before anything of it is loaded."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import RequestError
from featurestore.models.mlflow_client import mlflow
from featurestore.models.stamp import FOLDER, ORIGINAL

PYFUNC = "python_function"
LOADERS = {"mlflow.sklearn": "sklearn", "mlflow.xgboost": "xgboost", "mlflow.lightgbm": "lightgbm", "mlflow.catboost": "catboost"}
"""The loaders that can read formats of plain data, with the flavor that says which format it is; every other may run anything."""
CLASSES = {
    "xgboost": ("xgboost.core.", "xgboost.sklearn."),
    "lightgbm": ("lightgbm.basic.Booster",),
    "catboost": ("catboost.core.",),
}
"""What a flavor may have made of the data: a class that its MLmodel names is imported and called."""
DATA = (".json", ".ubj", ".xgb", ".lgb", ".txt", ".cb", ".cbm", ".skops", ".yaml", ".yml", ".md", "")
"""Ends of the names of files that hold data. What is named otherwise is not taken for data."""
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
"""Types that a skops file may hold beside those that skops itself trusts."""
PICKLED = tuple(bytes([0x80, version]) for version in range(6))
"""How a pickle begins, from its second protocol on."""


def refuse(folder: Path) -> None:
    """Raises: RequestError for a model whose files, or whose loader, could run code: all but skops and the boosters' own formats."""
    why = next(_reasons(folder), None)
    if why is not None:
        raise RequestError(
            f"the model is refused: {why}, so that loading it could run what its writer put there, and the setting allow_pickle is false;"
            " log it with serialization_format='skops', or in its library's own format"
        )


def _reasons(folder: Path) -> Iterator[str]:
    original = folder / FOLDER / ORIGINAL
    flavors: Mapping[str, Any] = mlflow.models.Model.load(str(original if original.is_file() else folder / ORIGINAL)).flavors
    pyfunc = flavors.get(PYFUNC) or {}
    loader = str(pyfunc.get("loader_module"))
    if loader not in LOADERS:
        yield f"it is loaded by {loader}"
        return
    if pyfunc.get("code"):
        yield "it brings Python files of its own"
    flavor = LOADERS[loader]
    yield from _format_reasons(flavor, flavors.get(flavor) or {})
    yield from _file_reasons(folder)


def _format_reasons(flavor: str, said: Mapping[str, Any]) -> Iterator[str]:
    if said.get("code"):
        yield "it brings Python files of its own"
    form = said.get("serialization_format", "pickle" if flavor == "sklearn" else None)
    if form not in (None, "skops"):
        yield f"it is written with {form}"
    skops = form == "skops"
    named = str(said.get("model_class", CLASSES.get(flavor, ("",))[0]))
    if not skops and flavor in CLASSES and not named.startswith(CLASSES[flavor]):
        yield f"it is of the class {named}"
    for kind in said.get("skops_trusted_types") or []:
        if not str(kind).startswith(TRUSTED):
            yield f"its file may hold {kind}"


def _file_reasons(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file():
            continue
        if path.suffix.lower() not in DATA:
            yield f"its file {name} may be anything"
            continue
        with path.open("rb") as file:
            begins = file.read(2)
        if begins in PICKLED:
            yield f"its file {name} is a pickle"
        if begins == b"PK" and (path.suffix.lower() != ".skops" or not _holds_data(path)):
            yield f"its file {name} is an archive that may hold pickles"


def _holds_data(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(Path(name).suffix in (".json", ".npy", ".npz") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
