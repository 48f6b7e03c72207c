"""Between foreign checkpoint formats and the shared weight scheme, with NumPy alone."""
