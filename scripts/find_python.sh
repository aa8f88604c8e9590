#!/usr/bin/env bash
# Print the path of a Python from 3.11 on.
set -euo pipefail
for name in python3.11 python3 python3.12 python3.13 python; do
  if path="$(command -v "$name")" \
    && "$path" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2> /dev/null
  then echo "$path"; exit 0; fi
done
echo "Python 3.11, 3.12 or 3.13 is needed and none was found on the PATH." >&2
exit 1
