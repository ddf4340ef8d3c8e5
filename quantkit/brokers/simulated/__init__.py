"""The simulated exchange: venue, markets, account and the broker in front of them."""
