"""The embedded engine: one process, Arrow batches, Polars' threads."""
