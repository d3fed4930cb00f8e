-- A proof that was killed leaves its schema. A proof that runs at least ten minutes later removes it.
DO $$ DECLARE old text; BEGIN
  FOR old IN SELECT nspname FROM pg_namespace
    WHERE nspname ~ '^tercet_verify_[0-9]+_' AND nspowner = current_user::regrole
      AND split_part(nspname, '_', 3)::bigint < extract(epoch FROM now()) - 600
  LOOP EXECUTE format('DROP SCHEMA %I CASCADE', old); END LOOP;
END $$;
