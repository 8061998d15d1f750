"""Check the rules of this house that no general linter knows.

Run: ``python tools/check_house.py``. Each rule is a function from a file to what is wrong in it; the
tables below are the rules' exceptions, with their reasons.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Method = ast.FunctionDef | ast.AsyncFunctionDef

MAX_LINES = 500
# Names that say nothing about what is inside.
EMPTY_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"})

# What may be imported where; prefixes of modules, () for nowhere.
IMPORTS: dict[str, tuple[str, ...]] = {
    "polars": ("thalweg.columnar", "thalweg.engine.embedded"),
    "pyspark": ("thalweg.engine.spark",),
    "numpy": (),  # Arrow and Polars hold all data; a second array library would be a second meaning of null
    "pandas": (),
    # Formats that run code when they are read.
    **dict.fromkeys(("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"), ()),
}
_CLOCK_NAMES = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")
_DATE_CALLS = {"datetime": ("now", "utcnow", "today"), "date": ("today",)}
_DATE_NAMES = [
    (prefix + kind, call)
    for prefix in ("", "dt.", "datetime.")
    for kind, names in _DATE_CALLS.items()
    for call in names
]
# Calls that are made in some places only.
CALLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("eval", "exec", "yaml.load", "os.system", "os.popen"), ()),
    "print": ("thalweg.cli", "thalweg.connect._stdout", "thalweg.demo"),
    # Results must not depend on the wall clock, and tests turn it: time comes from a Clock.
    **dict.fromkeys((f"time.{name}" for name in _CLOCK_NAMES), ("thalweg.core.clock",)),
    **dict.fromkeys((f"{name}.{call}" for name, call in _DATE_NAMES), ("thalweg.core.clock",)),
}
ENVIRONMENT = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb"})
# The front door imports all below it; only what stands above it may come in through it.
ABOVE_THE_FRONT_DOOR = ("thalweg.__main__", "thalweg.cli", "thalweg.testing", "thalweg.demo")

# Written in pieces where a whole word would find itself.
_MACHINE_PATH = re.compile(r"""(?<![\w.~}/-])/(?:root|home|work|tmp|Users)/\w""")
_REGISTRY = re.compile(r"\b(?:pypi\.|pythonhosted\.|npmjs\.|crates\.io|repo1?\.maven)", re.IGNORECASE)
_UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
_BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?:\[[^\]]*\])?\s*$")


@dataclass(frozen=True, slots=True)
class Module:
    """A Python file, parsed.

    Attributes:
        path: Its path from the root.
        name: Its dotted name (``thalweg.core.clock``), or the path's where it is not in the package.
        text: Its source text.
        tree: Its syntax tree.
    """

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def in_package(self) -> bool:
        """Whether users import it; the rest are tests and tools."""
        return self.name == "thalweg" or self.name.startswith("thalweg.")


@dataclass(frozen=True, slots=True)
class Described:
    """The methods that have a docstring, by class name.

    Attributes:
        methods: Class name to its described methods.
        bases: Class name to the names of its bases.
    """

    methods: dict[str, set[str]]
    bases: dict[str, set[str]]

    @classmethod
    def of(cls, modules: list[Module]) -> Described:
        """Collect them from modules."""
        methods: dict[str, set[str]] = {}
        bases: dict[str, set[str]] = {}
        for module in modules:
            for holder, method in _methods(module.tree):
                bases[holder.name] = _bases(holder)
                if ast.get_docstring(method) is not None:
                    methods.setdefault(holder.name, set()).add(method.name)
        return cls(methods, bases)

    def elsewhere(self, holder: ast.ClassDef, method: str) -> bool:
        """Return whether a base class, or any protocol (they bind without a name), describes a method."""
        pending = [*_bases(holder), *(name for name, bases in self.bases.items() if "Protocol" in bases)]
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if method in self.methods.get(name, ()):
                return True
            if name not in seen:
                seen.add(name)
                pending += self.bases.get(name, ())
        return False


Finding = tuple[int, str]
Rule = Callable[[Module], Iterator[Finding]]


def read_module(path: Path, root: Path) -> Module:
    """Parse a Python file."""
    place = path.relative_to(root)
    parts = place.with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    text = path.read_text(encoding="utf-8")
    return Module(place, ".".join(parts), text, ast.parse(text, str(path)))


def module_size(module: Module) -> Iterator[Finding]:
    """A module is one idea; past 500 lines it is two."""
    lines = module.text.count("\n")
    if lines > MAX_LINES:
        yield lines, f"the module has {lines} lines, at most {MAX_LINES} are allowed: split it"


def module_names(module: Module) -> Iterator[Finding]:
    """Names say what is inside."""
    named = [(1, part) for part in module.path.with_suffix("").parts]
    named += [(node.lineno, node.name) for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    for line, name in named:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}
        if empty := words & EMPTY_NAMES:
            yield line, f'the name "{name}" has the word "{empty.pop()}", which says nothing: name what it does'


def imports(module: Module) -> Iterator[Finding]:
    """Some packages are met in few rooms, or in none."""
    for line, target in _imported(module):
        package = target.partition(".")[0]
        if module.in_package and package in IMPORTS and not _within(module.name, IMPORTS[package]):
            yield line, f"{package} may be imported in {_places(IMPORTS[package])} only"
        elif package in IMPORTS and not IMPORTS[package] and package not in ("numpy", "pandas"):
            yield line, f"{package} runs code when it reads; use Arrow or JSON"


def front_door(module: Module) -> Iterator[Finding]:
    """``import thalweg`` is an upward import everywhere below the front door."""
    if not module.in_package or _within(module.name, ABOVE_THE_FRONT_DOOR):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            through = any(alias.name == "thalweg" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            through = node.module == "thalweg" and node.level == 0
        else:
            continue
        if through:
            yield node.lineno, "import from the room that has the name (thalweg.core.errors, …), not from thalweg"


def connectors(module: Module) -> Iterator[Finding]:
    """Connectors don't know each other; the modules of one system share its word: ``_files``, ``_files_read``."""
    if not module.name.startswith("thalweg.connect._"):
        return
    own = _system(module.name)
    for line, target in _imported(module):
        if _within(target, ("thalweg.connect",)) and _system(target) != own:
            yield line, f"the connector {own} imports {target}: what connectors share lives in a room below them"


def calls(module: Module) -> Iterator[Finding]:
    """Some calls are made in few places, or in none."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        if name in CALLS and (module.in_package or not CALLS[name]) and not _within(module.name, CALLS[name]):
            yield node.lineno, f"{name}(…) may be called in {_places(CALLS[name])} only"
        for keyword in node.keywords:
            if keyword.arg == "shell" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
                yield node.lineno, "shell=True lets data become commands: pass a list of arguments"


def environment(module: Module) -> Iterator[Finding]:
    """The command line is the only reader of environment variables."""
    if not module.in_package or _within(module.name, ("thalweg.cli", "thalweg.__main__")):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            read = _dotted(node) in ENVIRONMENT
        elif isinstance(node, ast.ImportFrom):
            read = any(f"{node.module}.{alias.name}" in ENVIRONMENT for alias in node.names)
        else:
            continue
        if read:
            yield node.lineno, "only thalweg.cli reads environment variables: take the value as an argument"


def swallowed_errors(module: Module) -> Iterator[Finding]:
    """An error is handled, logged or raised; never dropped."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and all(_is_empty(statement) for statement in node.body):
            yield node.lineno, "the error is dropped: handle it, or let it rise (contextlib.suppress, with a reason)"


def unfinished(module: Module) -> Iterator[Finding]:
    """What is here works: no stubs, no notes for later."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if _UNFINISHED.search(line):
            yield number, "a note for later: do it now, or say in the docs what is not there"
        if module.in_package and _BARE_IGNORE.search(line):
            yield number, "say after “type: ignore[…]” why the checker is wrong"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if _dotted(raised) == "NotImplementedError":
                yield node.lineno, "a stub: write it, raise UnsupportedError with a reason, or use a Protocol"


def skipped_tests(module: Module) -> Iterator[Finding]:
    """A test that does not run says why."""
    if module.in_package:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _dotted(node) in ("pytest.mark.skip", "pytest.mark.xfail"):
            if not _called_with_reason(module.tree, node):
                yield node.lineno, f"{_dotted(node)} needs reason="
        elif isinstance(node, ast.Call) and _dotted(node.func) == "pytest.skip" and not (node.args or node.keywords):
            yield node.lineno, "pytest.skip() needs a reason"
        elif isinstance(node, ast.Call) and _dotted(node.func) == "pytest.importorskip":
            yield node.lineno, "a package that a test needs belongs into its dependency group: import it"


def method_docstrings(described: Described) -> Rule:
    """A public method says what it does, unless a protocol or a base class has said it."""

    def rule(module: Module) -> Iterator[Finding]:
        if not module.in_package:
            return
        for holder, method in _public_methods(module.tree):
            said = ast.get_docstring(method) is not None or described.elsewhere(holder, method.name)
            if not said and not _is_overload_or_setter(method):
                yield method.lineno, f"{holder.name}.{method.name} is public and has no docstring"

    return rule


def own_text(text: str) -> Iterator[Finding]:
    """The text speaks of the project alone: no paths of a machine, no registry."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _MACHINE_PATH.search(line):
            yield number, f"{found.group()}… is a path of some machine: use a relative or a temporary one"
        if found := _REGISTRY.search(line):
            yield number, f"{found.group()} is a registry's host: name the package instead"


def findings(root: Path) -> list[str]:
    """Return one line, ``file:line: what``, for each break of a rule."""
    folders = ("src", "tests", "tools", "benchmarks", "examples")
    files = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    modules = [read_module(path, root) for path in files]
    rules: list[Rule] = [
        module_size,
        module_names,
        imports,
        front_door,
        connectors,
        calls,
        environment,
        swallowed_errors,
    ]
    rules += [unfinished, skipped_tests, method_docstrings(Described.of(modules))]
    found = [(m.path, line, what) for m in modules for rule in rules for line, what in rule(m)]
    texts = [*files, *sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md")), root / "Makefile"]
    for path in texts:
        if path.exists():
            found += [(path.relative_to(root), *finding) for finding in own_text(path.read_text(encoding="utf-8"))]
    return [f"{path}:{line}: {what}" for path, line, what in found]


def _imported(module: Module) -> Iterator[Finding]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def _system(name: str) -> str:
    """Return the first word of a connector's module: files of thalweg.connect._files_read."""
    return name.removeprefix("thalweg.connect").removeprefix("._").partition("_")[0].partition(".")[0]


def _methods(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, Method]]:
    for holder in tree.body:
        if isinstance(holder, ast.ClassDef):
            yield from ((holder, node) for node in holder.body if isinstance(node, Method))


def _public_methods(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, Method]]:
    for holder, method in _methods(tree):
        if not holder.name.startswith("_") and not method.name.startswith("_"):
            yield holder, method


def _bases(holder: ast.ClassDef) -> set[str]:
    named = (base.value if isinstance(base, ast.Subscript) else base for base in holder.bases)
    return {_dotted(base).rpartition(".")[2] for base in named}


def _is_overload_or_setter(method: Method) -> bool:
    return any(_dotted(d).rpartition(".")[2] in ("overload", "setter") for d in method.decorator_list)


def _called_with_reason(tree: ast.Module, mark: ast.Attribute) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.func is mark:
            return any(keyword.arg == "reason" for keyword in node.keywords)
    return False


def _is_empty(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def _places(places: tuple[str, ...]) -> str:
    return " and ".join(places) if places else "no module"


if __name__ == "__main__":
    sys.exit("\n".join(findings(ROOT)) or None)
