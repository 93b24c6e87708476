-- The least-privilege role of the postgres tool server: it can read every table and all
-- statistics, and nothing else.
--
-- Run it as a superuser in each database that is to be read; it may be run again. Replace
-- {{password}} first: with the password, in which every single quote is doubled. The default
-- privileges at the end cover what the role that runs this file creates later; repeat those three
-- lines with FOR ROLE … for other owners.

DO $role$
BEGIN
    IF '{{password}}' = '{{' || 'password}}' THEN
        RAISE EXCEPTION 'replace the placeholder of the password first';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'mcp_reader') THEN
        CREATE ROLE mcp_reader;
    END IF;
END
$role$;

ALTER ROLE mcp_reader WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    CONNECTION LIMIT 50 PASSWORD '{{password}}';
ALTER ROLE mcp_reader SET default_transaction_read_only = on;
ALTER ROLE mcp_reader SET idle_in_transaction_session_timeout = '60s';

-- Statistics of every session and statement (pg_stat_activity, pg_stat_statements). Deliberately
-- not pg_monitor, which could read the server's files, and none of pg_read_server_files,
-- pg_write_server_files, pg_execute_server_program, pg_signal_backend.
GRANT pg_read_all_stats TO mcp_reader;

DO $grants$
DECLARE
    one_schema name;
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO mcp_reader', current_database());
    FOR one_schema IN
        SELECT nspname FROM pg_catalog.pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO mcp_reader', one_schema);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO mcp_reader', one_schema);
        EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO mcp_reader', one_schema);
    END LOOP;
END
$grants$;

ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO mcp_reader;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO mcp_reader;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO mcp_reader;
