"""The framework-free core of Triclip: configurations, tokenizers, image processor and weight table."""
