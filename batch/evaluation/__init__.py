"""Rankings and hold-out → metrics."""
