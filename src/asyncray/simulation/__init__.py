"""A whole cluster in one process, on virtual time, with faults from a seed."""

try:
    import greenlet as _greenlet  # noqa: F401
except ImportError:
    raise ImportError("the simulator needs greenlet: pip install 'asyncray[simulation]'") from None
