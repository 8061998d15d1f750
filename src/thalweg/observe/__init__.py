"""What can be seen of a run."""
