# An image with everything that the programs need, the code in /workspace:
#   docker build -t detection:1.0 .                                                                  for a CPU
#   docker build -t detection:1.0 --build-arg FROM_IMAGE_NAME=ascend-mindspore-arm:<version> .       for Ascend
# The base image has a Python of 3.9 to 3.12; a MindSpore that it has stays. Nothing is compiled: the slim image has no
# compiler, and requirements.txt is installed from wheels.
ARG FROM_IMAGE_NAME=python:3.11-slim
FROM ${FROM_IMAGE_NAME}

# MindSpore's OpenMP, where the base image is a slim one of Debian, whose release decides the version.
# hadolint ignore=DL3008
RUN if command -v apt-get > /dev/null; then \
      apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*; \
    fi

WORKDIR /workspace
COPY requirements.txt ./
COPY scripts/install.sh scripts/
RUN bash scripts/install.sh requirements.txt
COPY . .

# Programs need no rights of root. USER_NAME may name a user that the base image has (Ascend: HwHiAiUser).
ARG USER_NAME=detection
RUN (id "${USER_NAME}" || useradd --create-home "${USER_NAME}") && chown "${USER_NAME}" /workspace
USER ${USER_NAME}
