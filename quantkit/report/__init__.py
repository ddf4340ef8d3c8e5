"""What a run comes to: metrics, round trips, the result with its tables, and how it is shown and kept."""
