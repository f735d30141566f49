"""Host-side isolation of sandboxes: control groups, system call filter, kernel files, users, hidden data."""
