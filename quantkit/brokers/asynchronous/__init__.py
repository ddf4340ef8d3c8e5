"""A broker whose exchange is elsewhere: orders go out on a wire, and news of them comes in as inputs of the run."""
