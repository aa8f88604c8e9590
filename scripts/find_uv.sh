#!/usr/bin/env bash
# Print the path of uv; install it from PyPI into .cache/tools where the machine has none.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
tools="$root/.cache/tools"

if command -v uv; then exit 0; fi
if [ -x "$tools/bin/uv" ]; then echo "$tools/bin/uv"; exit 0; fi

python="$("$root/scripts/find_python.sh")"
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing python3-venv" >&2
    apt-get update -qq >&2 && apt-get install -y -qq python3-venv >&2
  else
    echo "Neither uv nor Python's venv module is here: install uv (pip install uv) and try again." >&2
    exit 1
  fi
fi
echo "installing uv into .cache/tools" >&2
"$python" -m venv "$tools" >&2
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
echo "$tools/bin/uv"
