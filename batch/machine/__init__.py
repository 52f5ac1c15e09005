"""What the machine, or the container on it, lets the batch use."""
