"""Files of bytes, inflated where they are compressed, up to the very byte where one is damaged."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pyarrow as pa

from thalweg.columnar.runs import DamagedTextError

_PART_BYTES = 1 << 16  # what is inflated at once, and at most looked at byte by byte where it fails


class InflatedFile:
    """The bytes of a file, from any place.

    Args:
        path: The file.
        compression: ``.gz``, ``.zst`` or None.
    """

    def __init__(self, path: str, compression: str | None) -> None:
        self._path = path
        self._compression = compression
        self._offset = 0
        self._is_careful = False
        self._damage: str | None = None  # a stream that has failed is not asked again: it may never answer
        self._stream = self._opened()

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end.

        Raises:
            DamagedTextError: They cannot be inflated; all that could be was given before.
            OSError: The file cannot be read.
        """
        parts: list[bytes] = []
        wanted = size
        while wanted and self._damage is None:
            try:
                part = self._part(wanted)
            except (EOFError, zlib.error, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's fault, not the text's
                if self._compression == ".zst" and not self._is_careful:
                    self._start_over_carefully()
                    continue
                self._damage = str(error) or type(error).__name__
                break
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
            self._offset += len(part)
        if self._damage is not None and not parts:
            raise DamagedTextError(self._damage)
        return b"".join(parts)

    def seek(self, offset: int) -> None:
        """Go to a byte of the text; what is compressed is inflated up to it."""
        if self._compression is None:
            self._stream.seek(offset)
            self._offset = offset
            return
        if offset < self._offset:
            self._stream.close()
            self._offset, self._stream = 0, self._opened()
            self._is_careful, self._damage = False, None
        while self._offset < offset and self.read(min(_PART_BYTES, offset - self._offset)):
            pass

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _opened(self) -> Any:  # three kinds of file objects
        if self._compression == ".gz":
            return gzip.open(self._path, "rb")
        if self._compression == ".zst":
            return pa.CompressedInputStream(pa.OSFile(self._path), "zstd")
        return open(self._path, "rb")

    def _part(self, wanted: int) -> bytes:
        if self._compression is None:
            return bytes(self._stream.read(wanted))
        if self._compression == ".gz":
            return bytes(self._stream.read1(wanted))  # read() would lose what it has where it fails
        return bytes(self._stream.read(1 if self._is_careful else min(wanted, _PART_BYTES)))

    def _start_over_carefully(self) -> None:
        """Read on byte by byte, since the stream gives nothing of a part in which it fails."""
        offset = self._offset
        self._stream.close()
        self._stream = self._opened()
        while offset:
            offset -= len(self._stream.read(min(offset, _PART_BYTES)))
        self._is_careful = True
