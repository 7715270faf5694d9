"""Evaluation on labelled test pictures: metrics, the paper's protocol, tables and sheets."""
