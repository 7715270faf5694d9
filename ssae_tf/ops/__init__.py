"""Tensor building blocks: random draws, resampling, Gaussian filters."""
