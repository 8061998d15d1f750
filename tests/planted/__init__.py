"""Bugs planted in the engine: the tests must find each, and pass without it."""
