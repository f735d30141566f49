"""References in texts: submissions, posts, snapshots and researchers."""
