"""The rules of the house catch what they are for: each has a planted break here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import check_house, check_links

ROOT = Path(__file__).resolve().parents[2]

BREAKS = [
    ("src/thalweg/core/long.py", "x = 1\n" * 501, "501 lines"),
    ("src/thalweg/core/string_utils.py", "", 'the word "utils"'),
    ("src/thalweg/state/a.py", "class StateManager:\n    pass\n", 'the word "manager"'),
    ("src/thalweg/plan/a.py", "import polars as pl\n", "polars may be imported in thalweg.columnar and"),
    ("src/thalweg/engine/embedded/a.py", "from pyspark.sql import Column\n", "thalweg.engine.spark only"),
    ("src/thalweg/columnar/a.py", "def f():\n    import numpy\n", "numpy may be imported in no module"),
    ("src/thalweg/state/a.py", "import pickle\n", "pickle may be imported in no module"),
    ("tests/unit/test_a.py", "from pickle import loads\n", "pickle runs code when it reads"),
    ("src/thalweg/plan/a.py", "import thalweg\n", "not from thalweg"),
    ("src/thalweg/app.py", "from thalweg import col\n", "not from thalweg"),
    ("src/thalweg/connect/_kafka.py", "import thalweg.connect._files\n", "the connector kafka imports"),
    ("src/thalweg/connect/_kafka.py", "from thalweg.connect import files\n", "the connector kafka imports"),
    ("tools/a.py", "eval('1')\n", "eval(…) may be called in no module"),
    ("src/thalweg/app.py", "print('hello')\n", "print(…) may be called in thalweg.cli"),
    ("src/thalweg/engine/embedded/a.py", "import time\ntime.sleep(1)\n", "time.sleep(…) may be called in thalweg.core"),
    ("src/thalweg/app.py", "import datetime as dt\ndt.datetime.now(dt.UTC)\n", "dt.datetime.now(…)"),
    ("src/thalweg/cli/a.py", "import subprocess\nsubprocess.run('ls', shell=True)\n", "shell=True"),
    ("src/thalweg/app.py", "import os\nhome = os.environ['HOME']\n", "only thalweg.cli reads environment"),
    ("src/thalweg/app.py", "from os import getenv\n", "only thalweg.cli reads environment"),
    ("src/thalweg/app.py", "try:\n    f()\nexcept OSError:\n    pass\n", "the error is dropped"),
    ("src/thalweg/app.py", "try:\n    f()\nexcept OSError:\n    ...\n", "the error is dropped"),
    ("src/thalweg/app.py", "x = 1  # TO" + "DO: more\n", "a note for later"),
    ("src/thalweg/app.py", "x: int = f()  # type: ignore[assignment]\n", "why the checker is wrong"),
    ("src/thalweg/app.py", "def f():\n    raise NotImplementedError\n", "a stub"),
    ("tests/unit/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_a(): assert f()\n", "needs reason="),
    ("tests/unit/test_a.py", "import pytest\npytest.skip()\n", "needs a reason"),
    ("tests/unit/test_a.py", "import pytest\npytest.importorskip('x')\n", "dependency group"),
    (
        "src/thalweg/app.py",
        "class App:\n    def run(self):\n        return 1\n",
        "App.run is public and has no docstring",
    ),
    ("docs/a.md", "See /ho" + "me/ann/clicks.\n", "is a path of some machine"),
    ("README.md", "From py" + "pi.org.\n", "is a registry's host"),
]

ALLOWED = [
    ("src/thalweg/columnar/a.py", "import polars as pl\n"),
    ("src/thalweg/engine/embedded/a.py", "import polars\n"),
    ("src/thalweg/cli/a.py", "import os\nprint(os.environ['HOME'])\n"),
    ("src/thalweg/core/clock.py", "import time\ntime.sleep(1)\n"),
    ("src/thalweg/demo/a.py", "import thalweg as tw\n"),
    ("src/thalweg/app.py", "from thalweg.core.errors import PlanError\n"),
    ("src/thalweg/connect/_files.py", "from thalweg.connect._files_read import Reader\n"),
    ("src/thalweg/connect/__init__.py", "from thalweg.connect._files import files\n"),
    ("src/thalweg/app.py", "x: int = f()  # type: ignore[assignment]  # f has no types\n"),
    ("tests/unit/test_a.py", "import numpy\nimport time\ntime.sleep(1)\n"),
    (
        "tests/unit/test_a.py",
        "import pytest\n@pytest.mark.skip(reason='Windows has no fork')\ndef test_a(): assert f()\n",
    ),
    (
        "src/thalweg/app.py",
        'class Clock(Protocol):\n    def now(self):\n        """Now."""\nclass Sun:\n    def now(self): ...\n',
    ),
    ("docs/a.md", "Served at /topics/clicks, kept in data/tmp/x and ~/home/x, see https://example.org/work/x.\n"),
]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(("path", "text", "said"), BREAKS, ids=[said for _, _, said in BREAKS])
def test_a_broken_house_rule_is_found_with_its_place(tmp_path: Path, path: str, text: str, said: str) -> None:
    found = check_house.findings(tree(tmp_path, {path: text}))
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")
    assert said in found[0]


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_what_a_house_rule_allows_is_not_found(tmp_path: Path, path: str, text: str) -> None:
    assert check_house.findings(tree(tmp_path, {path: text})) == []


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[a](docs/b.md)", "names no file"),
        ("[a](docs/a.md#nowhere)", "names no heading of a.md"),
        ("[a](#nowhere)", "names no heading of README.md"),
        ("[a](../other.md)", "names no file"),
        ("[a][b]\n\n[b]: docs/b.md", "names no file"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str, said: str) -> None:
    (found,) = check_links.findings(tree(tmp_path, {"README.md": f"# Top\n\n{link}\n", "docs/a.md": "# A page\n"}))
    assert found.startswith("README.md: ")
    assert said in found


def test_links_that_lead_somewhere_are_not_found(tmp_path: Path) -> None:
    text = "# The `agg` step, again\n[a](docs/a.md#a-page) [top](#the-agg-step-again) [out](https://example.org/x)\n"
    code = "```\n[x](no.md)\n```\n`[y](no.md)`\n"
    assert check_links.findings(tree(tmp_path, {"README.md": text + code, "docs/a.md": "# A page\n"})) == []


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    path = {**os.environ, "PYTHONPATH": str(root / "src")}
    return subprocess.run(command, cwd=root, env=path, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("path", "text", "broken"),
    [
        ("core/planted.py", "import thalweg.plan\n", "Imports go down only"),
        ("plan/planted.py", "def late():\n    import thalweg.connect\n", "Imports go down only"),
        ("state/planted.py", "from thalweg.columnar import planted\n", "Imports go down only"),
        ("another_room/__init__.py", "", "Imports go down only"),
        ("engine/embedded/planted.py", "import thalweg.engine.spark\n", "Engines share their contract only"),
        ("plan/planted.py", "import polars\n", "Polars is met in columnar and engine.embedded only"),
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, path: str, text: str, broken: str) -> None:
    package = copy / "src" / "thalweg"
    others = {"columnar/planted.py": "", "engine/spark/__init__.py": ""}
    tree(package, {**others, path: text})
    result = lint_imports(copy)
    assert result.returncode == 1
    assert f"{broken} BROKEN" in result.stdout


def run_tests(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-v", ".", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, check=False
    )


SKIPS = """
import pytest

@pytest.mark.services
def test_broker():
    pytest.skip("no broker answers")

def test_plain():
    pytest.skip("not on this system")
"""


def test_a_skipped_service_is_a_failure_in_ci_only(tmp_path: Path) -> None:
    tree(tmp_path, {"test_a.py": SKIPS})
    at_home = run_tests(tmp_path, CI="")
    assert at_home.returncode == 0, at_home.stdout
    assert "2 skipped" in at_home.stdout
    in_ci = run_tests(tmp_path, CI="true")
    assert in_ci.returncode == 1
    assert "1 failed, 1 skipped" in in_ci.stdout
    assert "CI promises its server" in in_ci.stdout


DRAWS = """
from hypothesis import given, strategies as st

drawn = []

@given(st.integers())
def test_given(n):
    drawn.append(n)

def test_report(rng):
    raise AssertionError(f"drawn {rng.random()} {len(drawn)} {sum(drawn)}")
"""


def test_the_printed_seed_repeats_every_random_choice(tmp_path: Path) -> None:
    tree(tmp_path, {"test_a.py": DRAWS})
    first = run_tests(tmp_path).stdout
    drawn = re.findall(r"AssertionError: (drawn \S+ \S+ \S+)", first)
    (seed,) = set(re.findall(r"repeat with --hypothesis-seed=(\d+)", first))
    assert drawn
    assert drawn == re.findall(
        r"AssertionError: (drawn \S+ \S+ \S+)", run_tests(tmp_path, f"--hypothesis-seed={seed}").stdout
    )
    assert drawn != re.findall(r"AssertionError: (drawn \S+ \S+ \S+)", run_tests(tmp_path).stdout)


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = project["project"]["dependencies"] + project["build-system"]["requires"]
    asked += [one for group in project["dependency-groups"].values() for one in group if isinstance(one, str)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(n): v for n, v in (line.split("==") for line in lines if line and line[0] != "#")}
    for requirement in map(Requirement, asked):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no line in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


def test_make_shows_its_commands() -> None:
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = re.findall(r"^  make (\w+) ", result.stdout, re.MULTILINE)
    assert set(shown) == {"help", "demo", "test", "torture", "check", "bench", "clean"}
