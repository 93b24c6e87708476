#!/bin/sh
# In the database container only: the demo data, statistics and the least-privilege role. The image
# runs it once, when its data are new; deploy.sh runs it at each start, so that an interrupted
# creation is done again and the role has the password of now. deploy.sh --local does the same itself.
set -eu
export PGOPTIONS='-c client_min_messages=warning'
run() {
  psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"
}
found=$(run --dbname postgres --tuples-only --no-align \
  --command "SELECT 1 FROM pg_database WHERE datname = 'demo'")
if [ -z "$found" ]; then
  run --dbname postgres --command 'DROP DATABASE IF EXISTS demo_unfinished WITH (FORCE)' \
    --command 'CREATE DATABASE demo_unfinished TEMPLATE template0'
  for file in /opt/mcp/demo/*.sql; do
    run --dbname demo_unfinished --file "$file"
  done
  run --dbname demo_unfinished --command 'VACUUM (ANALYZE)'
  run --dbname postgres --command 'ALTER DATABASE demo_unfinished RENAME TO demo'
fi
run --dbname demo --command 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements'
# As SQL wants it in quotes, then as sed wants a replacement.
password=$(printf '%s' "${MCP_DATABASE_READER_PASSWORD:?}" | sed "s/'/''/g; s/[\\/&]/\\\\&/g")
sed "s/{{password}}/$password/" /opt/mcp/role.sql | run --dbname demo
