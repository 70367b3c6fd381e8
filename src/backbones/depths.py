"""How deep the bodies are; without MindSpore, since names of parameters are worked out before it is there."""

# He et al. 2015, table 1: bottleneck blocks per stage.
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
