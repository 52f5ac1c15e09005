"""Features → booster → MLflow."""
