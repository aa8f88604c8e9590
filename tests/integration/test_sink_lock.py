"""The lock of the sink's folder, where the folder can't be made."""

from pathlib import Path

import pytest

from spendgate.adapters.delta_sink import DeltaSink
from spendgate.errors import SinkUnavailableError


def test_a_folder_that_cant_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    for folder in (Path("/proc/nowhere/delta"), tmp_path / "home" / "delta", tmp_path / "home"):
        with pytest.raises(SinkUnavailableError) as told, DeltaSink(folder).sole_flusher():
            pass
        assert str(told.value).startswith(f"can't lock the sink in {folder}: ")
        assert str(told.value).endswith("; give another home with --home or SPENDGATE_HOME")
