"""HTTP: events come in, topics are looked at."""

from __future__ import annotations

from thalweg.serve.limits import Limits
from thalweg.serve.server import ServeOptions, Server, parse_address
from thalweg.serve.tokens import SCOPES, Token, Tokens, create_token, load_tokens

__all__ = [
    "SCOPES",
    "Limits",
    "ServeOptions",
    "Server",
    "Token",
    "Tokens",
    "create_token",
    "load_tokens",
    "parse_address",
]
