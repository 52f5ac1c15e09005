"""Staging tables → features."""
