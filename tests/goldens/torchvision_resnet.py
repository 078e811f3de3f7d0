"""Write torchvision_resnet.npz: features of torchvision's ResNet-50 with seeded weights.

Needs torch 2.14.1 and torchvision 0.29.1 in an environment of its own:
    python3 -m venv tv && tv/bin/pip install torch==2.14.1 torchvision==0.29.1
    PYTHONPATH=tests tv/bin/python tests/goldens/torchvision_resnet.py
"""

from pathlib import Path

import numpy as np
import torch
import torchvision
from seeded_weights import seeded_image, seeded_tensor

FOLDER = Path(__file__).parent
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
CHANNELS = 4  # of each feature map, evenly spaced

network = torchvision.models.resnet50(weights=None).eval()
state = network.state_dict()
network.load_state_dict(
    {name: torch.from_numpy(seeded_tensor(name, tuple(state[name].shape))) for name in state}
)
image = (seeded_image(64, 96) - MEAN) / STD
x = torch.from_numpy(image.astype("float32").transpose(2, 0, 1)[None])
features = []
with torch.no_grad():
    x = network.relu(network.bn1(network.conv1(x)))
    features.append(x)
    x = network.maxpool(x)
    for group in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = group(x)
        features.append(x)
arrays = {}
for stage, feature in enumerate(features, start=1):
    step = feature.shape[1] // CHANNELS
    arrays[f"stage{stage}"] = feature[0, ::step].numpy().transpose(1, 2, 0)
    print(stage, tuple(feature.shape), float(feature.std()), float(feature.max()))
np.savez_compressed(
    FOLDER / "torchvision_resnet.npz",
    **arrays,
    source=f"torch {torch.__version__}, torchvision {torchvision.__version__}",
)
