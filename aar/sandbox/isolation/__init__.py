"""What the host does to keep a sandbox apart: control groups, system call filter, kernel files, users, hidden data."""
