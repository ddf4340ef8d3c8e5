"""Recorded data and live exchanges behind one interface."""
