"""Image segmentation for Keras and TensorFlow: from labeled images to a served model."""

import importlib
import sys

__version__ = "0.1.0"

_PACKAGES = (
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
    "optimizers",
    "schedules",
    "training",
    "viz",
)
# They register classes that a saved model may contain: its loss, metric, layers, optimizer and
# schedule.
_REGISTERING = ("losses", "metrics", "models", "optimizers", "schedules")


def _register():
    """Import the packages whose classes `keras.saving.load_model` finds by registered name."""
    for name in _REGISTERING:
        importlib.import_module(f"tfseg.{name}")


def __getattr__(name):
    # Packages load at first use: `import tfseg` takes no time and loads neither TensorFlow nor cv2.
    if name in _REGISTERING:
        _register()
    if name in _PACKAGES:
        return importlib.import_module(f"tfseg.{name}")
    raise AttributeError(
        f"module 'tfseg' has no attribute '{name}'. It has: {', '.join(_PACKAGES)}."
    )


def __dir__():
    return sorted({*globals(), *_PACKAGES})


if "keras" in sys.modules:
    # Someone who imported keras before tfseg may load a saved model next.
    _register()
