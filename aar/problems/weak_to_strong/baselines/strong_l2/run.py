"""Vanilla with hundredfold regularisation, and the threshold at the pool's median."""

import numpy as np
import w2s

args = w2s.arguments()
data = w2s.load(args.data)
head = w2s.fit_logistic(data.train, w2s.harden(data.weak), l2=1e-2)
threshold = np.median(head.logits(data.train))
w2s.save(w2s.sigmoid(head.logits(data.test) - threshold), args.out)
