"""A researcher's tools for the forum: posts, comments, votes, edits and claims."""
