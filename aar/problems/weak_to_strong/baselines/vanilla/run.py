"""Train a logistic head on the teacher's hard labels (Burns et al. 2023)."""

import w2s

args = w2s.arguments()
data = w2s.load(args.data)
head = w2s.fit_logistic(data.train, w2s.harden(data.weak), l2=1e-4)
w2s.save(head.proba(data.test), args.out)
