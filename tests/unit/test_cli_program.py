"""How the command line finds an app in a program, and what it says when it can't."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thalweg.cli.program import LoadError, load, load_module
from thalweg.core.errors import PlanError

ONE = """
import thalweg as tw
from thalweg.connect import memory, view

app = tw.App("one")
same = app
app.read(memory([{"n": 1}])).write(view("rows"))
"""

Written = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Write programs to a folder of their own; what loading adds to the interpreter is taken away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    yield written
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_only_app_is_found_under_whatever_names(write: Written) -> None:
    write("one.py", ONE)
    assert load("one.py").name == "one"
    assert load("one.py:same").name == "one"


def test_a_block_for_scripts_does_not_run(write: Written) -> None:
    write("one.py", ONE + '\nif __name__ == "__main__":\n    raise SystemExit("it ran")\n')
    assert load("one.py").name == "one"


def test_modules_beside_the_program_are_found_also_from_functions(write: Written) -> None:
    write("prog/beside.py", "NAME = 'one'")
    write("prog/later.py", "VALUE = 7")
    write("prog/main.py", f"from beside import NAME\n{ONE}\ndef value():\n    import later\n    return later.VALUE\n")
    module = load_module(Path("prog/main.py"))
    assert module.value() == 7


def test_annotations_as_text_are_resolved_in_the_program(write: Written) -> None:
    schema = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Row:\n    n: int\n"
    )
    write("typed.py", schema + ONE.replace("1}])", "1}]), schema=Row"))
    assert load("typed.py").plan.writes[0].schema.names == ("n",)


def test_a_program_may_have_the_name_of_a_loaded_module(write: Written) -> None:
    write("json.py", ONE)
    assert load("json.py").name == "one"
    assert sys.modules["json"].__name__ == "json"
    assert hasattr(sys.modules["json"], "loads")


@pytest.mark.parametrize(
    ("program", "text", "message"),
    [
        ("gone.py", None, r"there is no file gone\.py; did you mean \"one\.py\"\?"),
        ("far/away/gone.py", None, r"there is no file far/away/gone\.py; there are none"),
        (".", None, r"\. is a folder; name the program's file in it"),
        ("notes.txt", "", r"notes\.txt is no Python file: a program's name ends in \.py"),
        ("empty.py", "x = 1", r"empty\.py makes no App; write app = thalweg\.App"),
        (
            "two.py",
            "import thalweg as tw\na = tw.App('a')\nb = tw.App('b')",
            r"two\.py makes 2 Apps: a, b; name one: two\.py:a",
        ),
        ("one.py:application", None, r"one\.py has no App named \"application\"; there are: app, same"),
        ("one.py:ap", None, r"one\.py has no App named \"ap\"; did you mean \"app\""),
        ("one.py:tw", None, r"one\.py:tw is of the type module, not a thalweg\.App"),
        ("one.py:", None, r"one\.py has no App named \"\"; there are: app, same"),
    ],
)
def test_what_cannot_be_an_app_is_refused(write: Written, program: str, text: str | None, message: str) -> None:
    write("one.py", ONE)
    if text is not None:
        write(program, text)
    with pytest.raises(PlanError, match=message):
        load(program)


def test_an_app_that_writes_nothing_is_an_error_at_the_line_that_makes_it(write: Written) -> None:
    path = write("nothing.py", "import thalweg as tw\n\napp = tw.App('nothing')\n")
    with pytest.raises(PlanError, match="writes nothing") as caught:
        load("nothing.py")
    assert caught.value.place is not None
    assert (Path(caught.value.place.file), caught.value.place.line) == (path, 3)


def test_what_the_program_raises_is_told_as_such(write: Written) -> None:
    write("broken.py", "1 / 0")
    with pytest.raises(LoadError) as caught:
        load("broken.py")
    assert isinstance(caught.value.cause, ZeroDivisionError)
    assert caught.value.path == Path("broken.py")


def test_a_program_that_exits_does_so(write: Written) -> None:
    write("leave.py", "raise SystemExit(7)")
    with pytest.raises(SystemExit) as caught:
        load("leave.py")
    assert caught.value.code == 7
