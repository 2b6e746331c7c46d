"""What a case takes: phase by phase, by the clock, and by the profiler."""
