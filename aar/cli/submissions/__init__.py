"""Commands about submissions: list, details, history, leaderboard, audit."""
