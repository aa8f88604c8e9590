#!/usr/bin/env bash
# Make .venv hold exactly what requirements.lock pins, with spendgate itself in it.
set -euo pipefail
cd "$(dirname "$0")/.."
uv="$(scripts/find_uv.sh)"
if [ ! -x .venv/bin/python ]; then
  "$uv" venv --quiet --python "$(scripts/find_python.sh)" .venv
fi
echo "installing what requirements.lock pins (a minute on a new machine)"
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
command -v uv > /dev/null || echo "no uv on the PATH: type .venv/bin/spendgate where documents say uv run spendgate"
