"""A local exchange that speaks OKX's v5 protocol: markets, faults and limits for demos and tests, never real orders."""
