#!/usr/bin/env bash
# Makes real calls to one running service or to all, and shows a table: test_service.sh [SERVICE]
set -euo pipefail
root="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)"
exec "$root/deploy.sh" test "$@"
