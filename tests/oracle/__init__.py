"""The meaning of a windowed program, written a second time: row at a time, in plain Python.

Nothing here knows of batches, steps or engines, and nothing uses columnar arithmetic. The engine has
to agree with it on every input.
"""
