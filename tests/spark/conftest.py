"""One Spark session for the run."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from spendgate.jobs.spark_session import local_session


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    session = local_session(tmp_path_factory.mktemp("home"), "spendgate tests")
    yield session
    session.stop()
