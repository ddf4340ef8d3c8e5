"""Market data in PostgreSQL or TimescaleDB: the same rows as a data folder's, exported and read back."""
