"""Pictures to pixel values."""
