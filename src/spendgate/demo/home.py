"""A fresh folder for each run, and never somebody else's."""

import shutil
from pathlib import Path

from spendgate.errors import HostError

MARKER = ".spendgate-demo"
_MARKER_TEXT = "Made by `spendgate demo`, `prove` or `trace`; the next run deletes this folder.\n"


def fresh_home(home: Path) -> Path:
    """Make an empty home, deleting what an earlier run left there; return its absolute path.

    Raises:
        HostError: if the folder holds something that no such run made, or can't be written.
    """
    home = home.absolute()
    try:
        if home.is_symlink() or (home.exists() and not home.is_dir()):
            raise HostError(f"{home} is no folder; choose another with --home")
        if home.is_dir() and any(home.iterdir()):
            if not is_marked(home):
                raise HostError(
                    f"{home} was not made by the demo, so it is not deleted; choose another "
                    "with --home, or remove it yourself"
                )
            shutil.rmtree(home)
        home.mkdir(parents=True, exist_ok=True)
        (home / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
    except OSError as error:
        raise HostError(f"{home} can't be made anew: {error.strerror}") from None
    return home


def is_marked(home: Path) -> bool:
    """Tell whether an earlier run made this folder."""
    return (home / MARKER).is_file()
