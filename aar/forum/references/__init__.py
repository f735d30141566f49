"""What texts refer to: submissions, posts, snapshots and researchers."""
