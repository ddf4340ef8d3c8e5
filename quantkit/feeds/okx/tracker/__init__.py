"""From messages to rows: continuity, order, gaps; no sockets, no clock."""
