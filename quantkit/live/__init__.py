"""Runs on a live feed: paper runs, their view, their log, and their repetition."""
