"""Load definition files: each is run as Python, and its source is parsed for the line of every object."""

import ast
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from featurestore.dsl.definitions import KINDS, Definitions, Place, gather
from featurestore.dsl.grant import Grant
from featurestore.errors import NotFound, Problem, RequestError, brief


def load_definitions(definitions: Any) -> Definitions:
    """Load the definitions of a folder, a file, a module, or an iterable of definition objects.

    Files of a folder may import each other by name. A file that fails is a problem of the result, which the plan reports with
    the others. Raises: NotFound for a folder or file that does not exist.
    """
    if isinstance(definitions, Definitions):
        return definitions
    if isinstance(definitions, str | Path):
        return load_files(Path(definitions))
    if isinstance(definitions, ModuleType):
        objects = _objects(definitions)
        return gather(objects, _places(objects, definitions, Path(definitions.__file__)) if definitions.__file__ else None)
    if isinstance(definitions, tuple(KINDS)):
        return gather([definitions])
    if isinstance(definitions, Iterable):
        return gather(definitions)
    raise RequestError(f"definitions={brief(definitions)} is not a folder, a file, a module or a list of definitions")


def load_files(path: Path) -> Definitions:
    """Load the definitions of a file, or of every `*.py` file in a folder and its subfolders."""
    # Not Path.exists, which raises for a path that is too long.
    if not os.path.exists(path):
        raise NotFound("folder or file of definitions", str(path), [str(other) for other in path.parent.glob("*") if other.is_dir()])
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*.py") if not file.name.startswith(("_", "."))) if path.is_dir() else [path]
    if not files:
        raise RequestError(f"the definitions folder {brief(str(path))} has no definition files (*.py)")
    problems: list[Problem] = []
    objects: list[Any] = []
    places: dict[int, Place] = {}
    with _importable(folder):
        for file in files:
            module = _run(file, folder, problems)
            if module is not None:
                module_objects = _objects(module)
                objects.extend(module_objects)
                for key, place in _places(module_objects, module, file).items():
                    places.setdefault(key, place)
    return gather(objects, places, problems)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    before = set(sys.modules)
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder.absolute()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.absolute()))
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder.absolute()):
                del sys.modules[name]


def _run(file: Path, folder: Path, problems: list[Problem]) -> ModuleType | None:
    name = ".".join(file.relative_to(folder).with_suffix("").parts)
    if name in sys.modules and Path(getattr(sys.modules[name], "__file__", None) or "").absolute() == file.absolute():
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file.absolute())
    if spec is None or spec.loader is None:
        problems.append(Problem("is not a Python file", file=str(file)))
        return None
    module = importlib.util.module_from_spec(spec)
    replaced = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        problems.append(Problem(f"is not valid Python: {error.msg}", file=_displayed_path(error.filename, folder, file), line=error.lineno))
        return None
    except Exception as error:  # noqa: BLE001 - any error of a user's file is a problem of that file, reported with its line
        lines = [entry.lineno for entry in traceback.extract_tb(error.__traceback__) if Path(entry.filename) == file.absolute()]
        problems.append(Problem(f"{type(error).__name__}: {error}", file=str(file), line=lines[-1] if lines else None))
        return None
    finally:
        if replaced is not None:
            sys.modules[name] = replaced
    return module


def _displayed_path(name: str | None, folder: Path, file: Path) -> str:
    """The file's path as the user gave its folder, not as Python resolved it."""
    path = Path(name) if name else file
    return str(folder / path.relative_to(folder.absolute())) if path.is_relative_to(folder.absolute()) else str(path)


def _objects(module: ModuleType) -> list[Any]:
    """The definitions in the variables of a module. Grants, which are many and have no names, may also stand in lists."""
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    listed = [item for value in public if isinstance(value, list | tuple) for item in value if isinstance(item, Grant)]
    return [value for value in public if isinstance(value, tuple(KINDS))] + listed


def _places(objects: list[Any], module: ModuleType, file: Path) -> dict[int, Place]:
    """The places of objects whose variable, or whose name as the first argument of a call, is in the file."""
    calls: dict[str, ast.Call] = {}
    by_name: dict[tuple[str, str], ast.Call] = {}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            calls.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and (name := _first_text(node)):
            by_name.setdefault((node.func.id if isinstance(node.func, ast.Name) else node.func.attr, name), node)
    places: dict[int, Place] = {}
    parts = [getattr(item, name, None) for item in objects for name in ("entity", "source")]
    nested = [part for part in parts if isinstance(part, tuple(KINDS))]
    variables = {id(value): name for name, value in vars(module).items()}
    for item in [*objects, *nested]:
        # The variable first: two objects may have the same name.
        call = calls.get(variables.get(id(item), "")) or by_name.get((type(item).__name__, str(item.name)))
        if call is not None:
            places.setdefault(id(item), Place(str(file), call.lineno, _inner_lines(call)))
    return places


def _first_text(call: ast.Call) -> str | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "name"), None)
    first = call.args[0] if call.args else named
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _inner_lines(call: ast.Call) -> dict[str, int]:
    lines: dict[str, int] = {}
    for node in ast.walk(call):
        if isinstance(node, ast.keyword) and node.arg:
            lines.setdefault(node.arg, node.value.lineno)
            if isinstance(node.value, ast.List | ast.Tuple):
                lines.update({f"{node.arg}[{position}]": item.lineno for position, item in enumerate(node.value.elts)})
        if isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    lines[key.value] = key.lineno
    return lines
