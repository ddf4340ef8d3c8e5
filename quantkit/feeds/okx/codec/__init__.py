"""OKX's frames and replies as typed messages: no network, no clock."""
