"""Where events come from: recorded data and live exchanges behind one interface."""
