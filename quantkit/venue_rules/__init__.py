"""An exchange's rules for orders, as pure functions: the simulated exchange, paper runs and the sandbox judge by them."""
