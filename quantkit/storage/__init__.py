"""Stored market data: the schema of its columns, Parquet files, and the tape of a live run."""
