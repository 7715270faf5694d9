"""Many categories and methods side by side: the paper's tables with measured columns."""
