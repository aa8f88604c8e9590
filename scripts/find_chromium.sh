#!/usr/bin/env bash
# Print the path of a Chromium or Chrome, which the browser tests need; as root on Debian install one.
set -euo pipefail

try_all() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" && return 0
  done
  return 1
}

try_all && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing Chromium for the browser tests" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >&2
  try_all && exit 0
fi
echo "Chromium is needed and none was found: install it (Debian: apt-get install chromium)" >&2
exit 1
