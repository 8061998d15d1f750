"""A program is loaded as Python would run it, but for its ``if __name__ == "__main__"`` block."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from thalweg.app import App
from thalweg.core.errors import Place, PlanError, near


class LoadError(Exception):
    """The program's own code raised while it was loaded.

    Args:
        path: The program's file.
        cause: What it raised.
    """

    def __init__(self, path: Path, cause: BaseException) -> None:
        self.path = path
        self.cause = cause
        super().__init__(f"{path} raised {type(cause).__name__} while it was loaded: {cause}")


def load(program: str) -> App:
    """Return the app of a program.

    Args:
        program: ``FILE.py``, or ``FILE.py:NAME`` where it makes more than one ``App``.

    Raises:
        PlanError: There is no such file or app, more than one app and none is named, or the app writes nothing.
        LoadError: The program's own code raised.
    """
    path, name = parted(program)
    app = _app(load_module(path), path, name)
    try:
        _ = app.plan
    except PlanError as error:
        # It is raised here, where the program's own lines have all been run: what is missing is missing from the app.
        raise PlanError(error.message, place=_made_at(path, app.name)) from error
    return app


def load_module(path: Path) -> ModuleType:
    """Run a file as a module of its name.

    Its folder stays the first on ``sys.path``, as for ``python FILE.py``: a function may import when it is called.

    Raises:
        PlanError: The file is not there, or is no Python file.
        LoadError: Its code raised.
    """
    check_file(path)
    name = path.stem if path.stem not in sys.modules else f"program_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    # Classes of the program look up their annotations' names here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LoadError(path, error) from error
    return module


def parted(program: str) -> tuple[Path, str | None]:
    """Return a program's file, and the name of its app if one is given."""
    file, colon, name = program.rpartition(":")
    if colon and (name.isidentifier() or not name) and not Path(program).exists():
        return Path(file), name
    return Path(program), None


def check_file(path: Path) -> None:
    """Raise where a path is no program's.

    Raises:
        PlanError: The file is not there, or is no Python file.
    """
    if path.is_dir():
        raise PlanError(f"{path} is a folder; name the program's file in it: {path / 'PROGRAM.py'}")
    if not path.exists():
        folder = path.parent
        there = sorted(other.name for other in folder.glob("*.py")) if folder.is_dir() else []
        raise PlanError(f"there is no file {path}; {near(path.name, there)}")
    if path.suffix != ".py":
        raise PlanError(f"{path} is no Python file: a program's name ends in .py")


def _app(module: ModuleType, path: Path, name: str | None) -> App:
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name is not None:
        if name in apps:
            return apps[name]
        if name and hasattr(module, name):
            raise PlanError(f"{path}:{name} is of the type {type(getattr(module, name)).__name__}, not a thalweg.App")
        raise PlanError(f'{path} has no App named "{name}"; {near(name, apps)}')
    different = {id(app): app for app in apps.values()}
    if not different:
        raise PlanError(f'{path} makes no App; write app = thalweg.App("NAME") at its top level')
    if len(different) > 1:
        raise PlanError(f"{path} makes {len(different)} Apps: {', '.join(apps)}; name one: {path}:{next(iter(apps))}")
    return next(iter(different.values()))


def _made_at(path: Path, name: str) -> Place | None:
    """Return the line that makes the app, if its name stands in the file."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and any(isinstance(a, ast.Constant) and a.value == name for a in node.args):
            return Place(str(path.resolve()), node.lineno)
    return None
