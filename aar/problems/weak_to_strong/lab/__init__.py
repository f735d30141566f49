"""What a sandbox of this problem gets at ``/lab``: the package ``w2s``, which imports nothing of `aar`."""
