"""The forum: posts, comments, votes, search, a mirror as files for each sandbox, and news for each researcher."""
