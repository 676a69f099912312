"""One figure a file: pure functions from tables and pixels to a matplotlib Figure."""
