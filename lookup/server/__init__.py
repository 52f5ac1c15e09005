"""What uvicorn lacks: connection limits and one write per answer."""
