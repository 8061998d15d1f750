"""What the server refuses to start with, and what a token allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.columnar.json_shape import elements_at_most
from thalweg.core.errors import PlanError
from thalweg.serve import Limits, ServeOptions, create_token, load_tokens, parse_address
from thalweg.serve.access import Access
from thalweg.serve.answers import RefusedError
from thalweg.serve.reads import chosen
from thalweg.serve.tokens import Token


def test_an_address_that_others_reach_needs_tokens_and_tls(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    create_token(file, "a", ["ingest"])
    for options in ({}, {"tokens": file}, {"behind_proxy": True}):
        with pytest.raises(PlanError, match="reached from other machines"):
            ServeOptions(host="0.0.0.0", **options).access()  # type: ignore[arg-type]  # a test's own
    assert ServeOptions(host="0.0.0.0", tokens=file, behind_proxy=True).access().tokens is not None
    assert ServeOptions(host="::1").access().tokens is None


def test_tls_needs_both_files() -> None:
    with pytest.raises(PlanError, match="both files"):
        ServeOptions(cert=Path("c.pem")).access()


def test_a_token_is_found_by_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    first, second = create_token(file, "a", ["ingest"], ["x*"]), create_token(file, "b", ["admin"])
    tokens = load_tokens(file)
    assert [token and token.name for token in map(tokens.find, (first, second, first + "x", ""))] == [
        *("a", "b", None, None)
    ]
    assert first not in file.read_text() and file.stat().st_mode & 0o077 == 0
    with pytest.raises(PlanError, match="already"):
        create_token(file, "a", ["read"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no \[\[token\]\]"),
        ('[[token]]\nname="a"\nhash="sha256:00"\nscopes=["read"]', "64 hexadecimal"),
        (f'[[token]]\nname="a"\nhash="sha256:{"0" * 64}"\nscopes=["reed"]', 'did you mean "read"'),
        (f'[[token]]\nname="a"\nhash="sha256:{"0" * 64}"\nscopes=["read"]\ntopic="x"', 'did you mean "topics"'),
        ("[[", "cannot be read"),
    ],
)
def test_a_token_file_that_is_wrong_says_how(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(PlanError, match=message):
        load_tokens(tmp_path / "t.toml")


def test_scopes_and_topics() -> None:
    token = Token("a", "", ("ingest",), ("orders", "clicks-*"))
    allowed = [token.allows("ingest", topic) for topic in ("orders", "clicks-eu", "clicks", "ordersx")]
    assert allowed == [True, True, False, False]
    assert not token.allows("read", "orders") and Token("b", "", ("admin",)).allows("read", "orders")


def test_hosts_and_origins() -> None:
    access = Access()
    access.check_place("localhost:8080", None)
    access.check_place("127.0.0.1:8080", "http://127.0.0.1:8080")
    for host, origin in (
        ("evil.example", None),
        (None, None),
        ("localhost:1", "http://localhost:2"),
        ("localhost", "null"),
    ):
        with pytest.raises(RefusedError):
            access.check_place(host, origin)


def test_limits_and_addresses_are_checked() -> None:
    with pytest.raises(PlanError, match="rows=0"):
        Limits(rows=0)
    for text in ("x", "127.0.0.1:", ":99999", "1:-1"):
        with pytest.raises(PlanError, match="HOST:PORT"):
            parse_address(text)


@pytest.mark.parametrize(
    ("accept", "form"), [(None, "application/json"), ("text/csv;q=0.1, */*;q=0.2", "application/json")]
)
def test_what_a_client_likes_best(accept: str | None, form: str) -> None:
    assert chosen(accept) == form


@pytest.mark.parametrize("text", [b"[1,2,3]", b'["a,b\\",c",[1,2],{"x":[1,2]}]', b'["\\\\",",",1]'])
def test_elements_are_counted_at_the_top_level(text: bytes) -> None:
    assert elements_at_most(text, 3) and not elements_at_most(text, 2)
