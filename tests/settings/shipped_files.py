"""The YAML files that the old zoo shipped, values only: five files, and what differs from them in the others."""
from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "zoo_files"


def blocks(text: str) -> dict[str, str]:
    """{key: its lines}, of a key that occurs twice all lines."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        named = re.match(r"(\w+):", line)
        key = named.group(1) if named else next(reversed(found))
        found[key] = f"{found[key]}\n{line}" if key in found else line
    return found


def _read() -> dict[str, str]:
    files = {}
    for part in re.split(r"(?m)^= ", (FOLDER / "differences.txt").read_text(encoding="utf-8"))[1:]:
        head, *lines = part.splitlines()
        name, _, base = head.partition(" < ")
        content = blocks((FOLDER / base).read_text(encoding="utf-8"))
        for line in lines:
            if line.startswith("! "):
                del content[line[2:]]
        changed = blocks("\n".join(line for line in lines if not line.startswith("! ")))
        values = "\n".join({**content, **changed}.values())
        files[name] = f"{values}\n---\nepoch_size: 'help'\n---\ndevice_target: [CPU]\n"
    return files


FILES = _read()     # path in the zoo -> text
NOT_OFFERED = "official/cv/FasterRCNN/default_config_InceptionResnetV2.yaml"
MODELS_OF_FILES = {
    **{f"official/cv/SSD/config/{name}.yaml": model for name, model in (
        ("ssd300_config", "ssd300"), ("ssd300_config_gpu", "ssd300"),
        ("ssd_mobilenet_v1_300_config_gpu", "ssd_mobilenet_v1"),
        *((f"ssd_mobilenet_v1_fpn_{kind}", "ssd_mobilenet_v1_fpn") for kind in ("config", "config_gpu", "ONNX_config")),
        *((f"ssd_resnet50_fpn_{kind}", "ssd_resnet50_fpn") for kind in ("config", "config_gpu")),
        *((f"ssd_vgg16_{kind}", "ssd_vgg16") for kind in ("config", "config_gpu")))},
    "official/cv/FasterRCNN/default_config.yaml": "faster_rcnn_resnet50",
    "official/cv/FasterRCNN/default_config_101.yaml": "faster_rcnn_resnet101",
    "official/cv/FasterRCNN/default_config_152.yaml": "faster_rcnn_resnet152",
    "official/cv/FasterRCNN/fasterrcnn_facemask_config_cpu.yaml": "faster_rcnn_resnet50",
    "research/cv/res2net_faster_rcnn/default_config.yaml": "faster_rcnn_res2net50",
    "research/cv/res2net_faster_rcnn/default_config_101.yaml": "faster_rcnn_res2net101",
    "research/cv/res2net_faster_rcnn/default_config_152.yaml": "faster_rcnn_res2net152",
    "official/cv/MaskRCNN/maskrcnn_resnet50/default_config.yaml": "mask_rcnn_resnet50",
    "research/cv/centernet_resnet50_v1/default_config.yaml": "centernet_resnet50",
    "research/cv/centernet_resnet101/default_config.yaml": "centernet_resnet101",
}
