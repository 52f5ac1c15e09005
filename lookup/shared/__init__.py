"""Modules that the batch may import: key names, environment, embedded Redis."""
