"""Benchmarks: the engine beside a one-shot query of the same data, in the same process and run.

``python -m benchmarks`` runs them; ``docs/reference/benchmarks.md`` says what each one measures.
"""
