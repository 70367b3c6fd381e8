"""Layers and channels of the backbones; does not import MindSpore, because parameter names are needed before that."""

# He et al. 2015, table 1: bottleneck blocks per stage, their inner channels, and the factor of their outputs.
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
RESNET_HIDDEN = (64, 128, 256, 512)
RESNET_EXPANSION = 4

# Howard et al. 2017, table 1: output channels and stride of each depthwise separable block.
MOBILENET_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
                       (512, 1), (512, 1), (1024, 2), (1024, 1))

# Sandler et al. 2018, table 2: expansion, output channels, repeats, stride of the first repeat.
MOBILENET_V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                       (6, 320, 1, 1))
# The first map is inside block 14 of the paper: the output of block 13, expanded by 6 (SSDLite, section 6.2).
MOBILENET_V2_BLOCKS_AT_STRIDE_16, MOBILENET_V2_BLOCKS = 13, 17
MOBILENET_V2_CHANNELS = (576, 1280)

# Simonyan & Zisserman 2014, configuration D: convolutions and channels of each block; Liu et al. 2016: of fc6 and fc7.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
VGG16_FC_CHANNELS = 1024
