"""The smoke step's small cases: what they are, how they run, and which stage is wrong of one that fails."""
