#!/usr/bin/env bash
# Starts, watches and stops the services; `./deploy.sh help` lists the commands.
# This front only finds a Python; scripts/deploy/ does the work.
set -euo pipefail
root="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)"
# shellcheck source=scripts/python.sh
source "$root/scripts/python.sh"
exec "$PYTHON" -P -m scripts.deploy "$@"
