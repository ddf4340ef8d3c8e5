"""Results: statistics, round trips, tables, the archive, and printed forms."""
