"""A store of MLflow that tests copy."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once: MLflow takes seconds to."""
    from batch.registry import Registry

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Registry(f"sqlite:///{path}").prod_version()
    return path
