"""Where orders go: the simulated exchange now, real ones later, behind one interface."""
