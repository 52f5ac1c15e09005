"""The images and the Compose file, on a real engine: only with `pytest -m docker`."""
