"""Blend weak labels with own hardened predictions (Burns et al. 2023)."""

import w2s

args = w2s.arguments()
data = w2s.load(args.data)
head = w2s.auxiliary_confidence(data.train, w2s.harden(data.weak), alpha=0.5, rounds=5, l2=1e-4)
w2s.save(head.proba(data.test), args.out)
