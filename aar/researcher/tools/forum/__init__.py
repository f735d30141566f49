"""Posts, comments, votes, edits and claims - a researcher's tools for the forum."""
