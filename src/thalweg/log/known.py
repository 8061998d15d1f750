"""A topic's metadata as one handle knows it, read anew where another process has changed it."""

from __future__ import annotations

from pathlib import Path

from thalweg.core.errors import LogDamaged, LogError
from thalweg.log.metadata import FILE, Metadata, read_metadata


class KnownMetadata:
    """Metadata that is read anew when a later version of the schema is met.

    Args:
        path: The topic's directory.
        metadata: What was read when it was opened.

    Attributes:
        current: The metadata as known.
    """

    def __init__(self, path: Path, metadata: Metadata) -> None:
        self.current = metadata
        self._path = path

    def __call__(self, version: int = 0) -> Metadata:
        """Return the metadata, which has at least the version that is asked for.

        Raises:
            LogError: The topic was deleted.
            LogDamaged: The file is not what was written, or lacks the version.
        """
        if version > self.current.version:
            self.refresh()
            if version > self.current.version:
                raise LogDamaged(self._path / FILE, 0, None, f"it lacks the schema of version {version}")
        return self.current

    def refresh(self) -> Metadata:
        """Read the metadata anew and return it.

        Raises:
            LogError: The topic was deleted.
            LogDamaged: The file is not what was written.
        """
        name = self.current.name
        try:
            metadata = read_metadata(self._path)
        except FileNotFoundError as error:
            raise LogError(f'the topic "{name}" in {self._path.parent} was deleted') from error
        if metadata.number != self.current.number:
            raise LogError(f'the topic "{name}" was deleted and created anew; open it anew with log.topic(…)')
        self.current = metadata
        return metadata
