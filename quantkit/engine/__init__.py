"""The loop that drives a strategy over rows, and the search that skips what cannot matter."""
