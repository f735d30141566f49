"""Accepts submissions and shows them - manifest, status, disqualification, disclosure."""
