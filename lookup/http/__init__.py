"""Requests → responses."""
