"""What the adapter of `clip_tf` does by the means of the framework that Keras runs on; the same functions in each."""
