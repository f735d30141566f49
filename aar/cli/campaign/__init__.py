"""Commands about a campaign: status, spec, steering, events, costs, transcript, report."""
