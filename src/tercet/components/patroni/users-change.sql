-- No password in the log. Works on a primary that is read-only, too, and does not wait for a standby.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET default_transaction_read_only = off;
SET synchronous_commit = local;
ALTER ROLE @REWINDER@ SET default_transaction_read_only = off;
