#!/usr/bin/env bash
# Print the home of a Java from 17 on, which Spark needs; as root on Debian install one.
set -euo pipefail

home_of() { # the home of the java at $1, if it is new enough
  local java="$1" settings version home
  settings="$("$java" -XshowSettings:properties -version 2>&1)" || return 1
  version="$(awk -F' = ' '/java.specification.version/ {print $2}' <<< "$settings")"
  home="$(awk -F' = ' '/java.home/ {print $2}' <<< "$settings")"
  [ "${version%%.*}" -ge 17 ] 2> /dev/null && echo "$home"
}

try_all() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    home_of "$JAVA_HOME/bin/java" && return 0
  fi
  if command -v java > /dev/null; then home_of "$(command -v java)" && return 0; fi
  for java in /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] && home_of "$java" && return 0
  done
  return 1
}

try_all && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing a Java runtime for Spark" >&2
  apt-get update -qq >&2
  apt-get install -y -qq openjdk-17-jre-headless >&2 || apt-get install -y -qq default-jre-headless >&2
  try_all && exit 0
fi
echo "Java 17 or newer is needed for Spark and none was found: install a JRE" >&2
echo "(Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME, and try again." >&2
exit 1
