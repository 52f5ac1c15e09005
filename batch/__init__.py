"""The batch job: raw files → SQL → features → model → scores → Redis."""
