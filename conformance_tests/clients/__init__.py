"""Other people's code that uses CLIP, run with ours: each client in an environment of its own, by hand.

One module per client; `trial` says how one is written, `environments` what each needs, ``docs/clients.md`` results.
"""
