"""Spark on this machine, with Delta: quiet, on loopback, and nothing in the working folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from spendgate.errors import HostError

JAVA_VERSION_MIN = 17
"""What Spark 4 needs."""

JARS = (
    "io.delta:delta-spark_4.2_2.13:4.4.0",
    "io.delta:delta-storage:4.4.0",
    "io.delta:delta-kernel-api:4.4.0",
    "io.delta:delta-kernel-defaults:4.4.0",
    "io.delta:delta-kernel-unitycatalog:4.4.0",
    "io.unitycatalog:unitycatalog-client:0.6.0",
)
"""Delta for the pinned pyspark and delta-spark, without the libraries that Spark itself ships."""

COMPILED_ROWS_MIN = 50_000
"""From so many rows on, a query that is compiled first ends earlier."""
INTERPRETED = {
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
}
"""Over few rows, compiling takes longer than it saves: interpreted, a run takes half the time."""
_COMPILED = {"spark.sql.codegen.factoryMode": "FALLBACK", "spark.sql.codegen.wholeStage": "true"}

_SHIPPED_BY_SPARK = (
    "com.fasterxml.jackson.*:*",
    "org.apache.*:*",
    "org.slf4j:*",
)


def local_session(home: Path, app_name: str = "spendgate") -> SparkSession:
    """Return the local Spark session, started at the first call.

    The jars are downloaded once into the user's Ivy folder; after that no network is needed.

    Raises:
        HostError: if there is no Java that Spark can use.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    _check_java()
    builder = SparkSession.builder.master("local[2]").appName(app_name)
    for name, value in {**_local_settings(home), **delta_settings()}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def delta_settings(ivy: Path | None = None) -> dict[str, str]:
    """Return the settings that make a Spark session know Delta, from the jars in an Ivy folder."""
    ivy = ivy or Path.home() / ".ivy2.5.2"
    jars = [ivy / "jars" / f"{jar.replace(':', '_', 1).replace(':', '-')}.jar" for jar in JARS]
    if all(jar.is_file() for jar in jars):
        # Naming the files skips Ivy's resolution: its time, its output and its look at the network.
        source = {"spark.jars": ",".join(map(str, jars))}
    else:
        source = {
            "spark.jars.ivy": str(ivy),
            "spark.jars.packages": ",".join(JARS),
            "spark.jars.excludes": ",".join(_SHIPPED_BY_SPARK),
        }
    return source | {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # The default of 50 tasks to read a table's log is for tables of millions of files.
        "spark.databricks.delta.snapshotPartitions": "2",
        # VACUUM lists a table's folder in so many tasks, 10,000 by default.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    }


@contextmanager
def compiled_queries(spark: SparkSession, *, is_ours: bool, rows: int) -> Generator[None]:
    """Let a session on this machine compile its queries for a while, if they read many rows.

    Args:
        spark: the session; streams that start meanwhile take it over.
        is_ours: False for a session of the platform, which compiles as it likes.
        rows: how many rows are read.
    """
    is_worth_it = is_ours and rows >= COMPILED_ROWS_MIN
    for name, value in (_COMPILED if is_worth_it else {}).items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in (INTERPRETED if is_worth_it else {}).items():
            spark.conf.set(name, value)


def _local_settings(home: Path) -> dict[str, str]:
    log_settings = Path(__file__).with_name("log4j2.properties")
    return {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # Jobs end before the JVM's second compiler would pay off. Without it the JVM keeps 48 MB of
        # compiled code alone, and compiles no more, for good, once that is full.
        "spark.driver.extraJavaOptions": (
            "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m "
            f'"-Dlog4j2.configurationFile={log_settings.as_uri()}"'
        ),
        "spark.driver.memory": "1g",
        "spark.pyspark.python": sys.executable,
        **INTERPRETED,
        # One run of aggregate has more compiled queries than the 100 that Spark keeps.
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(home.absolute() / "spark-warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")  # Java's own variable, which Spark's launcher follows too
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    way_out = (
        f"install Java {JAVA_VERSION_MIN} or later (Debian: apt-get install "
        f"openjdk-{JAVA_VERSION_MIN}-jre-headless; macOS: brew install openjdk@{JAVA_VERSION_MIN}) "
        "and let JAVA_HOME name it, if you set that"
    )
    if java is None:
        raise HostError(f"Spark needs Java and found none; {way_out}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603 - the path is Java's own
    found = re.search(r'version "(\d+)', shown)
    if found is None or int(found[1]) < JAVA_VERSION_MIN:
        version = found[1] if found else "unknown"
        raise HostError(f"Spark needs Java {JAVA_VERSION_MIN}, {java} is {version}; {way_out}")
