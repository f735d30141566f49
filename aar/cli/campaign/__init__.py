"""Commands about a campaign: list, status, spec, steering, team, events, costs, transcript, report."""
