"""Rows of a run: columns, batches, and the cursors that walk along them."""
