import coinlab
import numpy as np

given = coinlab.arguments()
np.save(given.out, 1 - coinlab.noisy(given))
