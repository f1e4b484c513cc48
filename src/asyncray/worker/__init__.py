"""The runtime of processes that run user code."""
