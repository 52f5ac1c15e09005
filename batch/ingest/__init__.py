"""Raw files → staging tables."""
