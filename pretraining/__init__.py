"""The recipe of the embedded checkpoint ``triclip-emoji``: from registry packages to `clip_core/embedded`."""
