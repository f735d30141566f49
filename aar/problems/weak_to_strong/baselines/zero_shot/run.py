"""Ignore the teacher: judge by the direction between the classes' prompts."""

import w2s

args = w2s.arguments()
data = w2s.load(args.data)
w2s.save(w2s.sigmoid(w2s.zero_shot_logits(data, data.test)), args.out)
