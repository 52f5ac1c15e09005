"""Reads from Redis."""
