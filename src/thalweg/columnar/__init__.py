"""Columnar work by Polars: expressions compiled, rules checked, payloads decoded."""
