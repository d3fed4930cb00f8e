-- Also on a primary that is read-only, and without a standby to wait for.
SET default_transaction_read_only = off;
SET synchronous_commit = local;
ALTER ROLE @REWINDER@ SET default_transaction_read_only = off;
