"""From decoded frames to delivered rows: continuity, order, gaps; without sockets and without a clock."""
