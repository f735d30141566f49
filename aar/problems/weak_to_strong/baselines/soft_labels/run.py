"""Keep the teacher's probabilities as targets, so that doubtful labels pull less."""

import w2s

args = w2s.arguments()
data = w2s.load(args.data)
head = w2s.fit_logistic(data.train, data.weak, l2=1e-4)
w2s.save(head.proba(data.test), args.out)
