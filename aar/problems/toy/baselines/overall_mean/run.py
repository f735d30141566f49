"""The mean of all points, everywhere."""

from statistics import fmean

import toylab

points = toylab.read()
toylab.write(points, [fmean(points.y)] * len(points.test_x))
