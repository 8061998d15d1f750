"""Whole pipelines that are killed at any instant and started again: nothing is lost, nothing comes twice.

The campaign runs in a process of its own that imports Polars but never works with it, and forks a child for each
life of a pipeline: that takes a tenth of the time that a new process takes.
"""
