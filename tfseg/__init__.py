"""Image segmentation for Keras and TensorFlow: labeled images in, a measured and served model out."""

import importlib
import sys

__version__ = "0.1.0"

_ROOMS = (
    "classical",
    "data",
    "datasets",
    "doctor",
    "export",
    "inference",
    "losses",
    "metrics",
    "models",
    "ops",
    "schedules",
    "training",
    "viz",
)


_REGISTERED = ("losses", "metrics", "models", "schedules")


def _register():
    # `keras.saving.load_model` finds classes by their registered name, and a model brings its loss, its metrics and the
    # schedule of its learning rate.
    for name in _REGISTERED:
        importlib.import_module(f"tfseg.{name}")


def __getattr__(name):
    # Rooms load at first use, so that `import tfseg` costs nothing and drags in neither TensorFlow nor cv2.
    if name in _REGISTERED:
        _register()
    if name in _ROOMS:
        return importlib.import_module(f"tfseg.{name}")
    raise AttributeError(f"module 'tfseg' has no attribute '{name}'. It has: {', '.join(_ROOMS)}.")


def __dir__():
    return sorted({*globals(), *_ROOMS})


if "keras" in sys.modules:
    # Whoever imported keras before tfseg may load a saved model next, without ever naming a room.
    _register()
