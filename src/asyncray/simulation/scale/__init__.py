"""Clusters of thousands of nodes at work: what a run costs, and how that grows with the number of nodes."""
