"""Of this package, which is released by itself."""

__version__ = "0.1.0"
