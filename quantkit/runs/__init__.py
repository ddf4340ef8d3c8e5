"""Runs kept in a folder: the index of backtests."""
