"""The report of a run as a page: packing, payload, charts, cards, and their assembly."""
