"""Additions to uvicorn: connection limits and one write per answer."""
