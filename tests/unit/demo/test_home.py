"""A run starts in a fresh folder and deletes nobody else's."""

from pathlib import Path

import pytest

from spendgate.demo.home import fresh_home
from spendgate.errors import HostError


def test_a_folder_of_an_earlier_run_is_made_anew(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "deep" / "demo")
    (home / "ledger.db").write_text("old")

    assert fresh_home(home) == home
    assert not (home / "ledger.db").exists()


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    assert fresh_home(tmp_path) == tmp_path


def test_a_folder_that_no_run_made_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")

    with pytest.raises(HostError, match="was not made by the demo"):
        fresh_home(tmp_path)

    assert kept.read_text() == "years of work"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    real = fresh_home(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(real)

    with pytest.raises(HostError, match="is no folder"):
        fresh_home(link)
