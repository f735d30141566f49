"""The server that runs inside a sandbox as its first process.

It uses the standard library only and imports nothing else of ``aar``.

It is one selector loop with as few imports and as little memory as possible, because there is one per sandbox and its
start is part of every sandbox's start.
"""
