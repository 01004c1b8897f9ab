"""Names for arrays, as signatures have them."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# Values of pixels as files have them: classes, or 255 where nothing is known.
Mask8 = npt.NDArray[np.uint8]
# Numbers of regions, such as planes; 0 or less where there is none.
Labels = npt.NDArray[np.int32]
# Shapes of shapely.
Geometries = npt.NDArray[np.object_]
