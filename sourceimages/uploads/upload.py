"""A received file."""

from dataclasses import dataclass, field
from typing import Any

from sourceimages import hashes
from sourceimages.storage.temp_file import TempUpload


@dataclass(slots=True)
class Upload:
    """A received file with its metadata in stored form, see `metadata`."""

    file: TempUpload
    name: str
    user_metadata: dict[str, Any] = field(default_factory=dict)
    dynamic_metadata: dict[str, Any] = field(default_factory=dict)
    protected: bool = False
    optimize_to: str = ""

    @property
    def identity(self) -> str:
        return hashes.identity(self.file.sha1, self.dynamic_metadata, protected=self.protected)
