#!/usr/bin/env bash
# Starts, watches and stops the services; `./deploy.sh help` lists the commands.
# This front only finds a Python; scripts/deploy/ does the work.
set -euo pipefail
if ! command -v readlink >/dev/null || ! command -v dirname >/dev/null; then
  echo "deploy.sh needs readlink and dirname (coreutils); PATH is $PATH" >&2
  exit 1
fi
root="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)"
# shellcheck source=scripts/python.sh
source "$root/scripts/python.sh"
exec "$PYTHON" -P -m scripts.deploy "$@"
