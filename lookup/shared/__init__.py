"""What the batch may import of the lookup: key names, environment, embedded Redis."""
