"""One long-lived channel per sandbox: a small server inside, an asyncio client outside, a unix socket between.

The host listens on a socket in a directory that the sandbox sees read-only; the server inside connects to it, and
connects again whenever a new controller listens there. So nothing inside can remove or replace the socket, and the
host accepts only the sandbox's first process (``SO_PEERCRED``). What comes from inside is treated as hostile.
"""
