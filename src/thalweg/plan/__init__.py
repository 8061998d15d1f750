"""What to compute, as pure data."""
