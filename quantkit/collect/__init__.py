"""Filling a data folder from an exchange: history by request, and what it tells of the present."""
