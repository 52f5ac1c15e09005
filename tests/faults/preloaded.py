"""All that a batch imports, for the process that batches are forked from."""

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import mlflow.xgboost  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import xgboost  # noqa: F401
from sqlalchemy.orm import configure_mappers

from batch import __main__  # noqa: F401
from batch.evaluation import comparison, evaluation, importance, plots  # noqa: F401
from batch.model import registry, train  # noqa: F401
from batch.scoring import compiled
from lookup.shared import embedded_redis  # noqa: F401
from tests.faults import batches  # noqa: F401

compiled.warm_up()
configure_mappers()
