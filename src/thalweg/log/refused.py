"""What the disk refused, said in the log's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from thalweg.core.errors import LogError, NoSpace
from thalweg.log import disk
from thalweg.log.commit import Poison


@contextmanager
def told(doing: str, poison: Poison | None = None) -> Iterator[None]:
    """Turn a disk's refusal into a ``LogError`` that says what was being done.

    Args:
        doing: What it was: ``trimming the topic "t"``.
        poison: The handle's, which takes no more appends afterwards: what it has on disk is not known.

    Raises:
        NoSpace: The disk is full; what was begun is undone, or is finished by doing it again.
        LogError: The disk refused for another reason.
    """
    try:
        yield
    except LogError:
        raise
    except OSError as error:
        if disk.is_full(error):
            raise NoSpace(f"{doing} failed: {error}; make space, and do it again") from error
        if poison is not None:
            poison.cause = error
        raise LogError(f"{doing} failed: {error}; mend the cause, open the topic anew, and do it again") from error
