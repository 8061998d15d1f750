"""What the tutorial, the how-tos, the README and examples of the reference show is what happens.

Each page is followed as a reader would, in a folder of its own: a block with ``title=`` is saved under that name
(``append``: added to it), ``sh`` blocks and untitled ``python`` blocks are run, and the ``text`` block after one is its
output, word for word but for how long things took.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import thalweg
from thalweg.cli.commands import command_line
from thalweg.demo import DEMOS

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-stream.md"
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
PAGES = [
    TUTORIAL,
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    *(page for page in REFERENCE if re.search(r'title="|^```text$', page.read_text("utf-8"), re.MULTILINE)),
]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DURATIONS = re.compile(r"in \d+\.\d+ ?s\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    mark: str
    text: str
    line: int

    @property
    def title(self) -> str | None:
        """The file that it is saved as."""
        found = re.search(r'title="([^"]+)"', self.mark)
        return found.group(1) if found else None


def blocks_of(page: Path) -> list[Block]:
    """Return the page's blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], m[3], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def save(block: Block, folder: Path) -> None:
    """Save a titled block."""
    assert block.title is not None
    path = folder / block.title
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a" if "append" in block.mark else "w", encoding="utf-8") as file:
        file.write(block.text)


def commands(folder: Path) -> dict[str, str]:
    """Return an environment in which ``thalweg`` and ``pytest`` are those of this Python."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("thalweg", "pytest"):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {name} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    source = str(Path(thalweg.__file__).parents[1])
    return {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": source,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "HOME": str(folder),
    }


def output_of(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command; return what it prints, errors in their place."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def followed(page: Path, folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Do what a page says; give each output that it shows, with its line and what came."""
    came = ""
    for block in blocks_of(page):
        if block.title is not None:
            save(block, folder)
        elif block.language == "sh":
            came = output_of(["sh", "-ec", block.text], folder, environment)
        elif block.language == "python":
            came = output_of([sys.executable, "-c", block.text], folder, environment)
        elif block.language == "text":
            yield block.line, DURATIONS.sub("in 0.00 s", block.text), DURATIONS.sub("in 0.00 s", came)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    if page != TUTORIAL:
        # The how-tos go on from the tutorial's program.
        for block in blocks_of(TUTORIAL):
            if block.title is not None:
                save(block, folder)
    shown = list(followed(page, folder, commands(tmp_path)))
    assert shown
    for line, expected, came in shown:
        assert came == expected, f"{page.name}:{line}"


def test_every_block_is_of_a_kind_that_is_followed() -> None:
    for page in PAGES:
        kinds = {(block.language, block.title is not None) for block in blocks_of(page)}
        drawn = {("", False)}  # a time line
        followed_kinds = {("json", True), ("python", True), ("python", False), ("sh", False), ("text", False)}
        assert kinds <= followed_kinds | drawn, page.name


def test_the_readme_shows_the_tutorials_program_with_both_its_lines(tmp_path: Path) -> None:
    (program,) = [block.text for block in blocks_of(ROOT / "README.md") if block.language == "python"]
    saved = [block for block in blocks_of(TUTORIAL) if block.title is not None]
    for block in saved:
        save(block, tmp_path)
    whole = (tmp_path / "clicks.py").read_text(encoding="utf-8")
    assert program.split() == whole.replace('clicks.errors.write(files("errors/", format="ndjson"))\n', "").split()


def test_the_readmes_commands_work(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    for block in blocks_of(TUTORIAL):
        if block.title is not None:
            save(block, folder)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [line.partition("#")[0].split() for line in readme.splitlines() if line.startswith("    thalweg ")]
    assert [words[1] for words in found] == ["plan", "batch", "run", "run"]
    environment = commands(tmp_path)
    for words in found[:3]:
        assert output_of(words, folder, environment)
    assert found[3] == ["thalweg", "run", "clicks.py"]  # live: it would not end


def test_the_reference_lists_every_command_option_and_demonstration() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    app = command_line()
    commands = {
        name: app[name] for name in ("run", "batch", "plan", "dev", "compare", "promote", "demo", "ledger", "serve")
    }
    for group in ("topic", "errors", "token"):
        commands |= {f"{group} {name}": app[group][name] for name in app[group] if not name.startswith("-")}
    for name, command in commands.items():
        assert re.search(f"`thalweg {name}[ `]", page), name
        heading = name if name == "token create" else name.split()[0]
        section = page.partition(f"\n## `{heading}`\n")[2].partition("\n## ")[0]
        for argument in command.assemble_argument_collection():
            for option in argument.names:
                if option.startswith("-") and not option.startswith(("--no-", "--empty-")):
                    assert f"`{option}" in section, f"{name} {option}"
    for name, what in DEMOS.items():
        assert f"| `{name}` | {what} |" in page
