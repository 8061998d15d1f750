"""The command line: ``thalweg run``, ``batch``, ``plan`` and ``demo``."""

from thalweg.cli.commands import main

__all__ = ["main"]
