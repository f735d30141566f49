"""One long-lived channel per sandbox: a small server inside, an asyncio client outside, a unix socket between.

The host listens on a socket in a directory that the sandbox sees read-only, until the server inside has connected; the
server connects again whenever a new controller listens there. So nothing inside can remove or replace the socket, the
host accepts only the sandbox's first process (``SO_PEERCRED``), and afterwards there is nobody to connect to. What
comes from inside is treated as hostile.
"""
