import coinlab
import numpy as np

given = coinlab.arguments()
np.save(given.out, coinlab.noisy(given))
