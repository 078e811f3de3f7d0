"""Training samples read and cropped by TensorFlow, without Python per image.

Python reads one sample at a time under its global lock, so that more cores are of little use to it.
Here one TensorFlow function per batch reads what needs no Python: PNG and JPEG files,
TFRecords (`sample_decoder`), and samples in memory (`sample_store`). The batches are equal to the
bit to those that Python reads.

Whatever TensorFlow cannot read as Python does (a damaged file, a value that maps to no class, an
image out of range) is left to Python, which reads such a batch again (`batch_reader`), and raises,
skips or warns as always. So only one place knows what is wrong with a sample, and what to say.
"""
