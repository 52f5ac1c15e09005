"""Rankings → Redis and Parquet."""
