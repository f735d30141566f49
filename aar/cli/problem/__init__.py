"""``aar problem``: list, show, validate, measure baselines, attack."""
