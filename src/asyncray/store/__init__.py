"""Shared-memory objects."""
