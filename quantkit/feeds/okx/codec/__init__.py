"""OKX frames and replies: their grammar, and what they decode to; knows neither network nor clock."""
