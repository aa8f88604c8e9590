"""LiteLLM's proxy beside ours: in an environment of its own, without a database."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_port, running

VERSION = "1.106.2"
MASTER_KEY = "sk-benchmark-0123456789abcdef0123456789abcdef"
"""Nobody's: the proxy doesn't start without one, and listens on loopback for minutes."""

_FOLDER = Path(".cache") / f"litellm-{VERSION}{sys.base_prefix.replace('/', '-')}"
"""One per interpreter: both gates run on the same."""
_INSTALL_SECONDS = 600


class NotInstalledError(Exception):
    """Raised where this version can't be installed here; the message says why."""


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    url: str
    pid: int


def install() -> Path:
    """Return the proxy's program, installing it into its own environment at first.

    Raises:
        NotInstalledError: without the package index, or if it doesn't have this version.
    """
    program = _FOLDER / "bin" / "litellm"
    uv = subprocess.run(["scripts/find_uv.sh"], capture_output=True, text=True, check=False)
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, str(_FOLDER)],
        ["pip", "install", "--quiet", "--python", str(_FOLDER / "bin" / "python"),
         f"litellm[proxy]=={VERSION}"],
    ):  # fmt: skip
        if program.exists():
            break
        try:
            subprocess.run(
                [uv.stdout.strip(), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=_INSTALL_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or ["no reason given"]
            raise NotInstalledError(f"litellm {VERSION} can't be installed: {lines[-1]}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            name = type(error).__name__
            raise NotInstalledError(f"litellm {VERSION} can't be installed: {name}") from None
    return program.absolute()


@contextmanager
def proxy(program: Path, folder: Path, model: str, upstream: str) -> Generator[Proxy]:
    """Run the proxy with one worker in front of a model server."""
    served = {"model": f"openai/{model}", "api_base": f"{upstream}/v1", "api_key": "any"}
    config = {
        "model_list": [{"model_name": model, "litellm_params": served}],
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": MASTER_KEY},
    }
    (folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    flags = ["--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    quiet = {"LITELLM_LOG": "ERROR"}
    ready = f"{url}/health/liveliness"
    with running([*flags, "--num_workers", "1"], ready, quiet, str(program)) as pid:
        yield Proxy(url, pid)
