"""Bodies inflated piece by piece, so that one that would burst is left where it passes the cap."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from thalweg.serve.answers import RefusedError
from thalweg.serve.limits import Limits

ENCODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
"""The content encodings that are taken, by the codec's name."""

_PIECE_BYTES: Final = 64 << 10
_FREE_BYTES: Final = 1 << 20  # up to here the ratio is of no concern


def codec_of(encoding: str | None) -> str | None:
    """Return the codec of a Content-Encoding; None where there is none to undo.

    Raises:
        RefusedError: It is not taken.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return None
    if name not in ENCODINGS:
        raise RefusedError(
            415,
            "unsupported_encoding",
            f"Content-Encoding {name[:40]!r} is not taken; allowed: gzip, zstd, identity, one of them",
            {"Accept-Encoding": "gzip, zstd"},
        )
    return ENCODINGS[name]


def inflated(raw: bytes, codec: str, limits: Limits) -> bytes:
    """Return a body inflated.

    State: What was sent, and what was inflated up to the cap.

    Raises:
        RefusedError: It is damaged (400), or larger than is taken (413).
    """
    most = min(limits.inflated_bytes, max(_FREE_BYTES, limits.ratio * len(raw)))
    pieces: list[bytes] = []
    size = 0
    try:
        stream = pa.CompressedInputStream(pa.BufferReader(raw), codec)
        while piece := stream.read(_PIECE_BYTES):
            size += len(piece)
            if size > most:
                raise RefusedError(
                    413,
                    "too_large_inflated",
                    f"the body is more than {most} bytes when inflated; at most {limits.inflated_bytes} are taken, and "
                    f"{limits.ratio} times what was sent: send it in parts",
                    more={"limit": most},
                )
            pieces.append(piece)
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        raise RefusedError(400, "damaged_encoding", f"the body cannot be inflated as {codec}: {error}") from error
    return b"".join(pieces)
