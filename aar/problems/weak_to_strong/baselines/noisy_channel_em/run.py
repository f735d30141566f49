"""Alternate between true labels' posterior and a head trained on it."""

import numpy as np
import w2s

args = w2s.arguments()
data = w2s.load(args.data)
rng = np.random.default_rng(args.seed)
posterior = w2s.noisy_channel(data.train, data.weak, rng=rng)
head = w2s.fit_logistic(data.train, posterior, l2=1e-4)
w2s.save(head.proba(data.test), args.out)
