"""Scoring on many machines: sources to paths, paths to verdicts on Ray Data, verdicts to tables."""

FORMATS = (".parquet", ".jsonl")
"""What the name of a table may end in."""
