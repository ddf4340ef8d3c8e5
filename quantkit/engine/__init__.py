"""The engine: the loop over rows, hooks, orders, equity and funding."""
