"""The ledger in a Postgres database that machines share."""
