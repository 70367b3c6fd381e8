"""How the files beside this were written (PyTorch 2.13, safetensors 0.8): python make.py"""
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent

numbers = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
tensors = OrderedDict([
    ("plain", numbers.clone()),
    ("half", numbers.half()),
    ("bfloat16", numbers.bfloat16()),
    ("double", numbers.double()),
    ("long", torch.tensor(7)),
    ("flags", torch.tensor([True, False])),
    ("transposed", numbers.clone().permute(2, 0, 1)),
    ("tail", numbers[1]),
    ("empty", torch.zeros(0, 3)),
    ("parameter", torch.nn.Parameter(numbers[0].clone())),
])
tensors._metadata = OrderedDict([("", {"version": 1})])  # as state_dict() of a module leaves it

if __name__ == "__main__":
    torch.save(tensors, HERE / "zip.pth")
    torch.save({"epoch": 3, "state_dict": tensors, "meta": {"classes": ("a", "b")}}, HERE / "legacy.pth",
               _use_new_zipfile_serialization=False)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, HERE / "a.safetensors",
              {"format": "pt"})
