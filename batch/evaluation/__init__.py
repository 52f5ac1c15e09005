"""Rankings and hold-out → metrics and a report."""
