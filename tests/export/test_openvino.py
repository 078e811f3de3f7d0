import os
import sys

os.environ["CI"] = "true"  # so that OpenVINO tells nobody that it is tested

import numpy as np
import openvino as format_openvino
import pytest

from tfseg.export import keras_runner, openvino, openvino_runner
from tfseg.models import list_models, unet
from tfseg.models.build import build

MODULE = sys.modules["tfseg.export.openvino"]  # the function of that name hides it
