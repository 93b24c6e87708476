#!/usr/bin/env bash
# Removes what running and developing left behind: caches here, and, after asking, everything that
# ./deploy.sh clean removes. --yes does not ask; --caches leaves the suite and its data alone.
set -euo pipefail
root="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)"
for name in .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis; do
  rm -rf -- "${root:?}/$name"
done
find "$root" -name .venv -prune -o -name .run -prune -o -name __pycache__ -type d -prune \
  -exec rm -rf -- {} +
echo "The caches are removed."
[[ ${1:-} == --caches ]] || exec "$root/deploy.sh" clean "$@"
