"""The words that every room shares: errors, clock, schemas, ports."""
