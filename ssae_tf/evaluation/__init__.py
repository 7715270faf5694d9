"""Evaluation on labelled test images: metrics, the paper's protocol, tables and sheets."""
