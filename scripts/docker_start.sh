#!/usr/bin/env bash
# Start a container of the image with the Ascend devices of this host, the data set and the models mounted where they
# lie, and a shell in it. The container is privileged, as the driver needs it. On a host without Ascend devices only the folders are mounted.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

arguments "IMAGE DATA_DIR MODEL_DIR" "$@"
existing DATA_DIR MODEL_DIR

mounts=()
for device in /dev/davinci[0-9]* /dev/davinci_manager /dev/devmm_svm /dev/hisi_hdc; do
  [ ! -e "$device" ] || mounts+=("--device=$device")
done
# The driver, its tools and its logs belong to the host.
for path in /usr/local/Ascend/driver /usr/local/Ascend/add-ons /usr/local/sbin/npu-smi /usr/local/dcmi \
    /etc/ascend_install.info /var/log/npu; do
  [ ! -e "$path" ] || mounts+=("--volume=$path:$path")
done
[ ! -e /var/log/npu ] || mounts+=(--volume=/var/log/npu:/usr/slog)
# Results belong to whoever starts the container, who also needs the groups that may use the devices.
mounts+=("--user=$(id -u):$(id -g)" --env=HOME=/tmp)
for group in $(id -G); do
  mounts+=("--group-add=$group")
done

exec docker run -it --ipc=host --privileged "${mounts[@]}" "--volume=${given[DATA_DIR]}:${given[DATA_DIR]}" \
  "--volume=${given[MODEL_DIR]}:${given[MODEL_DIR]}" "${own_flags[@]}" "${given[IMAGE]}" /bin/bash
