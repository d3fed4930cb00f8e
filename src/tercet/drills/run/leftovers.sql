-- Drops the tables of all drills. The primary may be read-only (strict mode), or may have no standby to confirm a
-- commit.
SET default_transaction_read_only = off;
SET synchronous_commit = local;
SET lock_timeout = '5s';
DO $$
DECLARE found record;
BEGIN
  IF pg_is_in_recovery() THEN RETURN; END IF;
  FOR found IN SELECT schemaname, tablename FROM pg_tables WHERE tablename ~ '^@TABLE@[0-9]+$' LOOP
    EXECUTE format('DROP TABLE %I.%I', found.schemaname, found.tablename);
  END LOOP;
END $$;
