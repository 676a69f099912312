"""Metrics with intervals, operating points and figures."""
