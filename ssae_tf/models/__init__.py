"""The network of Table 1."""
