"""Market data at rest: columns, their schema, and the Parquet files that hold them."""
