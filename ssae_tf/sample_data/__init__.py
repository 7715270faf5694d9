"""Procedural surfaces with defects, in MVTec AD layout."""
