"""What people do with CLIP, for any backend: the `triclip` command."""
