"""An exchange's rules for orders, as pure functions: simulated exchange, paper runs and sandbox judge by them."""
