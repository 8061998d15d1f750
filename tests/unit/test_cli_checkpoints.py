"""``thalweg checkpoint …`` and ``run --recover-from``, through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.cli import main
from thalweg.state.store import StateStore

PROGRAM = """
import thalweg as tw
from thalweg.connect import files, topic, view

app = tw.App("visits")
rows = app.read(files("in.ndjson"))
rows.group_by("page").agg(n=tw.count()).write(view("per_page"))
rows.write(topic("out", log="log"))
"""
STATE = Path(".thalweg/apps/visits")


class Command:
    """The command line, and what it says."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *tokens: str) -> tuple[int, str, str]:
        code = main(tokens)
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in a folder with three checkpoints of a program."""
    monkeypatch.chdir(tmp_path)
    Path("p.py").write_text(PROGRAM)
    run = Command(capsys)
    for page in "abc":
        with open("in.ndjson", "a") as file:
            file.write(json.dumps({"page": page}) + "\n")
        assert run("run", "p.py", "--until", "caught-up", "--quiet")[0] == 0
    return run


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_checkpoints_are_listed_also_while_a_run_has_the_state(command: Command) -> None:
    store = StateStore(STATE)
    code, out, _ = command("checkpoint", "list", "visits")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["3", "2", "1"]
    assert "file in.ndjson line 4" in out
    rows = objects(command("checkpoint", "list", "p.py", "--json")[1])
    assert rows == objects(command("checkpoint", "list", "visits", "--data", str(STATE), "--json")[1])
    assert [row["epoch"] for row in rows] == [3, 2, 1]
    assert all(row["bytes"] > 0 and row["time"].endswith("Z") for row in rows)
    store.close()


def test_a_checkpoint_is_shown_step_by_step(command: Command) -> None:
    (shown,) = objects(command("checkpoint", "show", "visits", "--epoch", "2", "--json")[1])
    steps = {step["step"]: step["rows"] for step in shown["steps"]}
    assert steps["3 write per_page"] == 2
    assert [(output["last epoch"], output["owed rows"]) for output in shown["outputs"]] == [(2, 1)]
    assert [read["position"]["line"] for read in shown["reads"]] == [3]
    code, out, _ = command("checkpoint", "show", "visits")
    assert code == 0
    assert out.startswith("epoch 3, 20")
    code, _, err = command("checkpoint", "show", "visits", "--epoch", "7")
    assert code == 2
    assert "keeps no checkpoint of epoch 7; there are 3, 2, 1" in err


def test_a_step_s_state_is_exported(command: Command) -> None:
    for form in ("parquet", "arrow"):
        code, _, err = command("checkpoint", "export", "visits", "3 write per_page", "out/deep", "--format", form)
        assert code == 0, err
    tables = [pq.read_table(path) for path in Path("out/deep").glob("rows-*.parquet")]
    assert sorted(pa.concat_tables(tables)["page"].to_pylist()) == ["a", "b", "c"]
    for path in Path("out/deep").glob("rows-*.arrow"):
        with pa.ipc.open_file(str(path)) as reader:
            tables.append(reader.read_all())
    assert sorted(pa.concat_tables(tables)["page"].to_pylist()) == ["a", "a", "b", "b", "c", "c"]
    code, _, err = command("checkpoint", "export", "visits", "agg", "out")
    assert code == 2
    assert 'the checkpoint of epoch 3 has no step "agg"' in err


def test_damage_is_named_and_an_older_checkpoint_is_gone_on_from(command: Command) -> None:
    assert command("checkpoint", "verify", "visits")[1].count("whole") == 3
    damaged = sorted(STATE.glob("files/00000003-*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, out, err = command("checkpoint", "verify", "visits")
    assert code == 1
    assert f"{damaged} is damaged: its checksum is wrong" in out
    assert "has damaged checkpoints: 3; if 3 is the newest, go on from an older checkpoint with --recover-from 2" in err
    verified = objects(command("checkpoint", "verify", "visits", "--json")[1])
    assert [row["whole"] for row in verified] == [False, True, True]
    code, _, err = command("run", "p.py", "--until", "caught-up", "--quiet")
    assert code == 1
    assert "--recover-from 2" in err
    code, _, err = command("run", "p.py", "--until", "caught-up", "--quiet", "--recover-from", "2")
    assert code == 1
    assert "has the output up to epoch 3" in err


def test_an_app_without_checkpoints_is_named_with_those_that_there_are(command: Command) -> None:
    code, _, err = command("checkpoint", "list", "visit")
    assert code == 2
    assert 'did you mean "visits"?' in err


@pytest.mark.parametrize("name", ["list", "show", "verify", "export"])
def test_the_help_of_each_command_has_an_example(command: Command, name: str) -> None:
    code, out, _ = command("checkpoint", name, "--help")
    assert code == 0
    assert f"thalweg checkpoint {name}" in out.partition("Examples:")[2]
