"""Image segmentation for Keras and TensorFlow: labelled images in, a measured and served model out."""

import importlib
import sys

__version__ = "0.1.0"

_ROOMS = ("data", "datasets", "export", "inference", "losses", "metrics", "models", "ops", "training", "viz")


def __getattr__(name):
    # Rooms load at first use, so that `import tfseg` costs nothing and drags in neither TensorFlow nor cv2.
    if name in _ROOMS:
        return importlib.import_module(f"tfseg.{name}")
    raise AttributeError(f"module 'tfseg' has no attribute '{name}'. It has: {', '.join(_ROOMS)}.")


def __dir__():
    return sorted({*globals(), *_ROOMS})


if "keras" in sys.modules:
    # `keras.saving.load_model` finds classes by their registered name. Whoever imported keras before tfseg may
    # load a saved model next, without ever naming these rooms.
    from tfseg import losses, metrics, models  # noqa: F401
