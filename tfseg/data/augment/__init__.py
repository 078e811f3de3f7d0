"""Random augmentation of images and their labels.

The random numbers of a sample are drawn once, from the seed and the sample's number, when the
sample is read (`params.draw`), and travel with it through the batch as "random". `crop.CropSampler`
cuts the piece of the image that the crop needs, in NumPy; `Augment` then does all the rest for the
whole batch in one compiled kernel. Both compute the parameters from these numbers
(`params.to_params`). The numbers travel rather than the parameters, because XLA and NumPy round
products and exponentials differently: parameters from NumPy would change the last digits.
"""

from tfseg.data.augment.augment import Augment

__all__ = ["Augment"]
