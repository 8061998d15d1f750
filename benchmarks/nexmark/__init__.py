"""Nexmark: twenty-three queries over the events of an auction house, streamed, beside SQL over all of them at once.

Source: Tucker, Tufte, Papadimos and Maier, *NEXMark: A Benchmark for Queries over Data Streams*, 2008 (q0 to q8); the
suites of Apache Beam and Apache Flink (q9 to q22).
"""
