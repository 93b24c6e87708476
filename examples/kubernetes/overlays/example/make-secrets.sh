#!/usr/bin/env bash
# Makes the files that kustomization.yaml makes Secrets of, in secrets/ beside it; what is there
# already stays as it is.
#
#   DATABASE_URL=postgresql://… GITHUB_TOKEN=… ./make-secrets.sh
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
umask 077
mkdir -p secrets

keep_or_write() { # keep_or_write FILE: standard input, unless there is such a file
  if [[ -e secrets/$1 ]]; then
    echo "secrets/$1 stays"
  else
    cat >"secrets/$1"
    echo "secrets/$1 written"
  fi
}

secret() { openssl rand -hex 32; }

[[ -e secrets/postgres.env ]] ||
  : "${DATABASE_URL:?is not set; the database to serve, as a role that may only read}"
keep_or_write common.env <<END
MCP_HTTP_API_KEY=$(secret)
MCP_HTTP_SECURITY__SEAL_KEY=$(secret)
REDIS_PASSWORD=$(secret)
END
keep_or_write postgres.env <<<"DATABASE_URL=${DATABASE_URL:-}"
keep_or_write github.env <<<"GITHUB_TOKEN=${GITHUB_TOKEN:-}"
