"""The REST interface of OKX: calls, limits, history."""
