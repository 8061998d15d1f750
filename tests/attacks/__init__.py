"""Attacks on what must survive: campaigns that break the embedded log, and the tools that they use.

A campaign runs in a process of its own that never loads Polars (it forks children by the hundred, and a
process that forks after Polars has worked can hang). It prints a report; the tests judge the report.
"""
