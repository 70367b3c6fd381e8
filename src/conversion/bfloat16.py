"""The one number format of weight files that NumPy does not have."""
import numpy as np


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32: its bits are the upper half of a float32's."""
    return (bits.astype("<u4") << 16).view("<f4")
