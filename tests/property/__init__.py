"""Random programs over random rows: the engine has to agree with the oracle, however it is run."""
