"""Architectures by name, their weights, and the losses they learn by."""
