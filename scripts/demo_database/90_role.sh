#!/bin/sh
# In the database container only: statistics and the least-privilege role, after the demo data.
# deploy.sh --local does the same itself.
set -eu
run() {
  psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}
run --command 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements'
sed "s/{{password}}/${MCP_DATABASE_READER_PASSWORD:?}/" /opt/mcp/role.sql | run
run --command 'VACUUM (ANALYZE)'
