-- Works on a primary that is read-only, too, and does not wait for a standby.
SET default_transaction_read_only = off;
SET synchronous_commit = local;
ALTER ROLE @REWINDER@ SET default_transaction_read_only = off;
