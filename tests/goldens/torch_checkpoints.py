"""Write torch_zip.pth and torch_legacy.pth: one small state dict in both formats of PyTorch.

Needs torch 2.14.1 (see torchvision_resnet.py).
"""

from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parent
network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
with torch.no_grad():
    network[0].weight.copy_(torch.arange(6.0).reshape(2, 3).T)
    network[0].bias.copy_(torch.tensor([0.5, 1.5, 2.5]))
    network[1].running_mean.copy_(torch.tensor([-1.0, 0.0, 7.0]))
    network[1].num_batches_tracked += 41
torch.save(network.state_dict(), FOLDER / "torch_zip.pth")
torch.save(network.state_dict(), FOLDER / "torch_legacy.pth", _use_new_zipfile_serialization=False)
