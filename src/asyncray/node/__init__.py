"""The node manager: one per machine."""
