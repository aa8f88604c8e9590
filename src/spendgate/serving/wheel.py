"""The wheel that a model is made from: found where the bundle uploads it, known by its contents."""

import hashlib
import zipfile
from pathlib import Path

from spendgate import __version__
from spendgate.errors import HostError

_BUILD_NOTES = ("METADATA", "RECORD", "WHEEL")
"""Of the wheel's own description: they differ by builder and README, the code doesn't."""


def find_wheel(folder: Path) -> Path:
    """Return this version's wheel, the newest if there are several.

    Raises:
        HostError: if there is none.
    """
    found = sorted(
        folder.glob(f"spendgate-{__version__}-*.whl"), key=lambda one: one.stat().st_mtime
    )
    if not found:
        raise HostError(
            f"there is no spendgate-{__version__}-*.whl in {folder}; `databricks bundle deploy` "
            "puts it there"
        )
    return found[-1]


def wheel_digest(wheel: Path) -> str:
    """Return a digest of a wheel's files: the same for each build of the same code."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if ".dist-info/" in name and name.rsplit("/", 1)[1] in _BUILD_NOTES:
                continue
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.sha256(archive.read(name)).digest())
    return digest.hexdigest()
