"""The control plane: membership, jobs, actors and the key-value table of one cluster."""
