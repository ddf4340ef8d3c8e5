"""Brokers: the protocol that the engine uses, and the simulated exchange behind it."""
