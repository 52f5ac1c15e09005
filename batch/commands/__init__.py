"""The commands: the only place that knows the order of the stages."""

Result = dict[str, object]
"""What a command reports; `--json` prints it."""
