"""The versions of an app's state: which there are, which is current, and who may change that."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thalweg import StateError
from thalweg.state import versions
from thalweg.state.store import StateStore
from thalweg.state.versions import Version, begin, current, existing, promote


def with_checkpoint(version: Version) -> Version:
    store = StateStore(version.directory)
    store.start()
    store.commit({"epoch": 1}, ())
    store.close()
    return version


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return tmp_path / "apps" / "clicks"


def test_the_first_version_is_the_apps_own_directory(first: Path) -> None:
    assert begin(first, None) == current(first) == Version(first, "1")
    assert first.is_dir()


def test_later_ones_stand_beside_it(first: Path) -> None:
    with_checkpoint(begin(first, None))
    assert [begin(first, None).directory.name, begin(first, 7).directory.name] == ["clicks@2", "clicks@3"]
    assert [version.from_us for version in versions.versions(first)] == [None, None, 7]
    assert current(first) == Version(first, "1")
    assert not list(first.parent.glob(".*"))


def test_a_directory_named_by_dots_has_versions_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.chdir(tmp_path / "state")
    with_checkpoint(begin(Path("."), None))
    assert begin(Path("."), None).directory == tmp_path / "state@2"
    assert [version.name for version in versions.versions(Path("."))] == ["1", "2"]


def test_other_directories_are_no_versions(first: Path) -> None:
    with_checkpoint(begin(first, None))
    for name in ("clicks@dev", "clicks@02", "clicks@x", "other@7", "clicks@1"):
        first.with_name(name).mkdir()
    first.with_name("clicks@9").write_text("a file")
    assert [version.name for version in versions.versions(first)] == ["1"]


def test_two_that_begin_at_once_get_different_versions(first: Path) -> None:
    with_checkpoint(begin(first, None))
    true = versions._noted
    with ThreadPoolExecutor(1) as other, pytest.MonkeyPatch.context() as patch:

        def slow(version: Version, directory: Path, from_us: int | None) -> Version:
            # In between the choice of a number and the rename another one takes it.
            patch.setattr(versions, "_noted", true)
            assert other.submit(begin, first, 1).result().name == "2"
            return true(version, directory, from_us)

        patch.setattr(versions, "_noted", slow)
        patch.setattr(versions.os, "getpid", iter(range(10)).__next__)  # as if the two were two processes
        mine = begin(first, 2)
    assert (mine.name, mine.from_us, Version(first, "2").from_us) == ("3", 2, 1)


def test_a_promoted_version_is_the_current_one_until_another_is(first: Path) -> None:
    one, two = with_checkpoint(begin(first, None)), with_checkpoint(begin(first, None))
    assert promote(two) == one
    assert current(first) == two
    assert promote(two) == two
    assert promote(one) == two
    assert current(first) == one


def test_a_version_that_is_gone_is_no_current_one_and_another_can_be(first: Path) -> None:
    one, two = with_checkpoint(begin(first, None)), with_checkpoint(begin(first, None))
    promote(two)
    two.directory.rename(first.with_name("away"))
    with pytest.raises(StateError, match=r"there is no version 2 of the state .*clicks; there are: 1\. To make one"):
        current(first)
    promote(one)
    assert current(first) == one


@pytest.mark.parametrize("running", [0, 1])
def test_none_of_the_two_may_be_running(first: Path, running: int) -> None:
    both = with_checkpoint(begin(first, None)), with_checkpoint(begin(first, None))
    store = StateStore(both[running].directory)
    with pytest.raises(StateError, match="is used by another run"):
        promote(both[1])
    assert current(first) == both[0]
    store.close()
    promote(both[1])
    for version in both:
        StateStore(version.directory).close()  # nothing stays locked


def test_a_version_without_a_checkpoint_is_not_promoted(first: Path) -> None:
    with_checkpoint(begin(first, None))
    with pytest.raises(StateError, match=r"version 2 in .*clicks@2 has no checkpoint"):
        promote(begin(first, None))
    with pytest.raises(StateError, match="there is no version 5"):
        existing(first, "5")


@pytest.mark.parametrize("text", ["", "0", "x", "2\n2", "dev", "@2", "\xff"])
def test_what_says_which_one_is_current_is_read_with_care(first: Path, text: str) -> None:
    with_checkpoint(begin(first, None))
    first.with_name("clicks@current").write_bytes(text.encode("latin-1"))
    with pytest.raises(StateError, match=r"clicks@current is damaged; restore it .* --version N"):
        current(first)


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"from_us": "x"}', '{"from_us": true}'])
def test_what_says_from_when_a_version_reads_is_read_with_care(first: Path, body: str) -> None:
    version = begin(first, 5)
    assert json.loads((first / "began.json").read_text()) == {"from_us": 5}
    (first / "began.json").write_text(body)
    with pytest.raises(StateError, match=r"began\.json is damaged"):
        _ = version.from_us


def test_a_promotion_that_cannot_be_written_changes_nothing(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = with_checkpoint(begin(first, None)), with_checkpoint(begin(first, None))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions.os, "fdatasync", full)
    with pytest.raises(StateError, match="version 1 is still current"):
        promote(two)
    assert current(first) == one
