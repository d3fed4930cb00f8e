-- No password in the log. Works on a primary that is read-only, too, and does not wait for a standby.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET default_transaction_read_only = off;
SET synchronous_commit = local;
ALTER ROLE @REWINDER@ SET default_transaction_read_only = off;
SELECT 'CREATE ROLE @MONITOR@ LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '@MONITOR@') \gexec
ALTER ROLE @MONITOR@ NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS LOGIN CONNECTION LIMIT @CONNECTIONS@;
ALTER ROLE @MONITOR@ SET statement_timeout = '@TIMEOUT@';
ALTER ROLE @MONITOR@ SET idle_in_transaction_session_timeout = '@TIMEOUT@';
GRANT pg_monitor TO @MONITOR@;
