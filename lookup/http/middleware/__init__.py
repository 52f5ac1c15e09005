"""Wraps every request and response."""
