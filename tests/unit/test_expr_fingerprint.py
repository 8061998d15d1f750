"""The fingerprint of a user's function: the same for the same work, another for other work."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from thalweg.plan.functions_of_user import function_fingerprint

RATE = 2


def of(path: Path, text: str) -> str:
    """Return the fingerprint of ``f`` in a program of this text."""
    path.mkdir(exist_ok=True)
    file = path / "program.py"
    file.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location("program", file)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return function_fingerprint(program.f)


BASE = """
    RATE = 2
    def helper(x):
        return x + 1
    def f(x, y=3):
        return helper(x) * RATE
"""


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (BASE, True),
        (BASE.replace("return helper(x) * RATE", "# a comment\n        return (helper(x)  * RATE)"), True),
        (BASE.replace("RATE = 2", "RATE = 3"), False),
        (BASE.replace("y=3", "y=4"), False),
        (BASE.replace("x + 1", "x + 2"), False),
        (BASE.replace("* RATE", "/ RATE"), False),
        ("    OTHER = 1\n" + BASE, True),
    ],
)
def test_what_the_function_does_counts_and_nothing_else(tmp_path: Path, text: str, same: bool) -> None:
    assert (of(tmp_path / "a", BASE) == of(tmp_path / "b", text)) is same


def test_what_is_closed_over_counts() -> None:
    def adder(n: int) -> Callable[[int], int]:
        return lambda x: x + n

    assert function_fingerprint(adder(1)) == function_fingerprint(adder(1)) != function_fingerprint(adder(2))


def test_two_lambdas_in_one_line_differ() -> None:
    pair = (lambda x: x + 1, lambda x: x + 2)
    assert function_fingerprint(pair[0]) != function_fingerprint(pair[1])


def test_a_function_that_calls_itself_has_one() -> None:
    def down(n: int) -> int:
        return down(n - 1) if n else 0

    assert function_fingerprint(down) == function_fingerprint(down)


def test_a_global_constant_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(x: int) -> int:
        return x * RATE

    before = function_fingerprint(scaled)
    monkeypatch.setitem(globals(), "RATE", 5)
    assert function_fingerprint(scaled) != before


class Scale:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return x * self.by

    def method(self, x: int) -> int:
        return x + self.by


def test_objects_count_by_class_and_attributes() -> None:
    assert function_fingerprint(Scale(1)) == function_fingerprint(Scale(1)) != function_fingerprint(Scale(2))
    assert function_fingerprint(Scale(1).method) != function_fingerprint(Scale(2).method)
    assert function_fingerprint(Scale(1).method) != function_fingerprint(Scale(1))


@dataclass(frozen=True, slots=True)
class Slotted:
    """Its attributes lie in slots; ``__hidden`` under a name of the class's."""

    by: int
    __hidden: int = 0

    def __call__(self, x: int) -> int:
        return x * self.by + self.__hidden


@dataclass(frozen=True, slots=True)
class MoreSlotted(Slotted):
    """It has those of its base too."""

    more: int = 0


def test_attributes_in_slots_count() -> None:
    objects: list[Slotted] = [
        Slotted(2),
        Slotted(3),
        Slotted(2, 1),
        MoreSlotted(2),
        MoreSlotted(3),
        MoreSlotted(2, 0, 1),
    ]
    assert len({function_fingerprint(one) for one in objects}) == len(objects)
    assert function_fingerprint(MoreSlotted(2)) == function_fingerprint(MoreSlotted(2))


@pytest.mark.parametrize("made", [functools.partial(functools.partial, max), Slotted], ids=["partials", "objects"])
def test_each_of_several_counts(made: Callable[[int], object]) -> None:
    def several(*numbers: int) -> Callable[..., object]:
        found = [made(number) for number in numbers]
        return lambda x: found

    functions = [several(*[7] * before, last) for before in range(5) for last in range(5)]
    assert len({function_fingerprint(function) for function in functions}) == len(functions)


def test_partials_builtins_classes_and_library_functions_have_one() -> None:
    found = [functools.partial(int, base=2), functools.partial(int, base=3), int, float, max, min, textwrap.dedent]
    assert len({function_fingerprint(function) for function in found}) == len(found)


def test_a_version_stands_for_the_source() -> None:
    assert function_fingerprint(lambda x: x, version="1") == function_fingerprint(lambda x: x + 1, version="1")
    assert function_fingerprint(lambda x: x, version="1") != function_fingerprint(lambda x: x, version="2")


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from thalweg.plan.functions_of_user import function_fingerprint
            NAMES = {"a", "b", "c", "d"}
            def f(x):
                return x in NAMES or x in {"u", "v", "w"}
            print(function_fingerprint(f), function_fingerprint(lambda x: x in {"u", "v", "w"}))
            """
        )
    )
    src = str(Path(__file__).resolve().parents[2] / "src")
    seen = set()
    for seed in ("1", "2", "3"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": src}
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1
