"""The server that runs inside a sandbox as its first process.

It uses the standard library only and imports nothing else of ``aar``.

It is one selector loop with as few imports and as little memory as possible, because there is one per sandbox and its
start is part of every sandbox's start. Importing asyncio in its place doubles the server's start, from 32 to 69 ms of
CPU, which is 40 % of the start of a bubblewrap sandbox (92 ms), and its memory grows from 12 to 20 MB.
"""
