"""Where things are kept unless a program or a command says otherwise: below the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LOG: Final = Path(".thalweg/log")
"""The embedded log."""

APPS: Final = Path(".thalweg/apps")
"""The states of apps, each in a directory of the app's name."""

TOKENS: Final = Path(".thalweg/tokens.toml")
"""The hashes of the tokens that ``thalweg serve`` asks for."""
