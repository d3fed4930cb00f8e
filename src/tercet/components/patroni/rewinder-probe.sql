SELECT CASE WHEN pg_is_in_recovery() THEN 'standby'
  WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = '@REWINDER@'
    AND 'default_transaction_read_only=off' = ANY (rolconfig)) THEN 'ready'
  ELSE 'it has no setting of its own' END
