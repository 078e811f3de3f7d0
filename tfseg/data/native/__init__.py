"""Training samples read and cropped by TensorFlow, without Python per image.

Python reads one sample at a time under its global lock, so that more cores are of little use to it.
Here all that happens to a sample is a part of the graph of the `Dataset`: a `Source` reads it from
files, records, the memory or a cache, `pieces` draws the random numbers and cuts what a crop needs,
and `batch_reader` reads the samples of a batch in parallel. The batches are equal to the bit to
those that Python reads, and the graph can be run by another process.

What needs Python (other formats, objects, skipping samples that cannot be read) is left to
`tfseg.data.python_streams`; `pipeline` decides it when it is opened. A graph cannot say much about
a sample that turns out to be damaged later: it names the sample and its files.
"""
