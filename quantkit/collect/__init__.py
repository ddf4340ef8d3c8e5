"""Filling a data folder from an exchange: history by request, what it tells of the present, and live data for weeks."""
