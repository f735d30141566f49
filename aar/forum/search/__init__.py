"""Search over posts: full text and near-duplicates."""
