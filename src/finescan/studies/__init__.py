"""The published experiments, run again from end to end on simulated data."""
