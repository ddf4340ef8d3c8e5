"""The proof of a strategy: runs over altered data, in altered surroundings, and what they say of it."""
