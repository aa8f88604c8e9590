"""What every job is given: settings, tables, a time, and a ledger opened where it is needed."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import has_ledger, no_ledger, open_ledger
from spendgate.config import Settings
from spendgate.errors import HostError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spendgate.jobs.table_space import TableSpace

Report = Mapping[str, object]
"""What a job says it changed; plain JSON. A list under `problems` makes its exit status 1."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job, over a home on this machine or over a schema of the catalog.

    Args:
        settings: the process's settings; `home` has the tables where no catalog is named.
        as_of: the time of the run; a job asks no clock.
        catalog: catalog of the tables; None for the folders of the home.
        schema: their schema.
        volume: folder for checkpoints and exports, such as `/Volumes/main/spendgate/files`.
        rebuild: make everything again from the events.
        since: first instant that is looked at; None leaves it to the job.
        until: first instant after; None leaves it to the job.
        out: folder or file of an export; None leaves it to the job.
        bill: a simulator's bill, whose calls stand in for the platform's tables.
    """

    settings: Settings
    as_of: datetime
    catalog: str | None = None
    schema: str = "spendgate"
    volume: str | None = None
    rebuild: bool = False
    since: datetime | None = None
    until: datetime | None = None
    out: Path | None = None
    bill: Path | None = None

    @property
    def space(self) -> "TableSpace":
        """Where the tables are."""
        from spendgate.jobs.table_space import TableSpace  # noqa: PLC0415 - pyspark is slow to load

        if self.catalog is None:
            return TableSpace(folder=self.settings.delta_folder.absolute())
        return TableSpace(catalog=self.catalog, schema=self.schema)

    @property
    def folder(self) -> Path:
        """Where a job keeps checkpoints and puts exports.

        Raises:
            HostError: if the tables are in a catalog and no volume is named.
        """
        if self.volume is not None:
            return Path(self.volume)
        if self.catalog is None:
            return self.settings.home.absolute()
        raise HostError("tables of a catalog need --volume, a folder for checkpoints and exports")

    def spark(self) -> "SparkSession":
        """Return the session: the platform's own over a catalog, else one on this machine."""
        if self.catalog is not None:
            from pyspark.sql import SparkSession  # noqa: PLC0415

            return SparkSession.builder.getOrCreate()
        from spendgate.jobs.spark_session import local_session  # noqa: PLC0415

        return local_session(self.settings.home.absolute())

    @contextmanager
    def opened_ledger(self) -> Generator[StoredLedger]:
        """Open the ledger, and close it at the end.

        Raises:
            HostError: if there is none.
            LedgerUnavailableError: if it doesn't answer.
        """
        if not has_ledger(self.settings):
            raise no_ledger(self.settings)
        ledger = open_ledger(self.settings)
        try:
            yield ledger
        finally:
            ledger.close()
