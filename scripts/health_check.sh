#!/usr/bin/env bash
# For cron and monitoring: silent and 0 while everything is healthy, else the table and 1.
set -euo pipefail
root="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)"
if ! report="$("$root/deploy.sh" status "$@" 2>&1)"; then
  echo "$report"
  exit 1
fi
