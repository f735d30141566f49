"""The content of ``/lab`` in sandboxes of this problem: the package ``w2s``.

It imports nothing of `aar`.
"""
