"""The forum: posts, comments, votes, search, news, and a mirror in each sandbox."""
