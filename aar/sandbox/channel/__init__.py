"""The channel of a sandbox: a server inside, a client outside, a unix socket.

The host listens on a socket in a directory that the sandbox sees read-only, until the server inside has connected; the
server connects again whenever a new controller listens there. So nothing inside can remove or replace the socket, the
host accepts only the sandbox's first process (``SO_PEERCRED``), and afterwards no listener is left. All data from
inside is treated as hostile.
"""
