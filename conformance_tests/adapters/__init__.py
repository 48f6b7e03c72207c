"""One adapter per backend: everything that the suite knows about a framework."""
