"""Which devices of a rank table are on this host: python tools/rank_table.py FILE prints a line
`rank device size` for each, size being the number of devices in the whole job."""
from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.errors import UsageError  # noqa: E402
from src.files import parse_json, read_file  # noqa: E402


def devices_of_this_host(path: Path) -> tuple:
    """([(rank, device id), ...] of this host in the order of the ranks, devices in the whole job).

    A table of one server is taken to be of this host. Raises UsageError when the file is not a complete table of
    version 1.0 (what hccl_tools writes) or names other hosts only.
    """
    try:
        table = parse_json(read_file(path))
        servers = {server["server_id"]: [(int(device["rank_id"]), int(device["device_id"]))
                                         for device in server["device"]] for server in table["server_list"]}
    except OSError as error:
        raise UsageError(f"rank table {path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a rank table of version 1.0 ({type(error).__name__}: {error}); "
                         "write it with hccl_tools") from None
    ranks = sorted(rank for devices in servers.values() for rank, _ in devices)
    if not ranks or ranks != list(range(len(ranks))):
        raise UsageError(f"{path}: the ranks are {ranks}, but have to be 0, 1, 2, ... without a gap")
    here = list(servers) if len(servers) == 1 else [address for address in servers if _is_own(address)]
    if not here:
        raise UsageError(f"{path} names the hosts {', '.join(servers)}, and none of these is an address of this one")
    return sorted(pair for address in here for pair in servers[address]), len(ranks)


def _is_own(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
        return True
    except OSError:
        return False


if __name__ == "__main__":
    try:
        devices, size = devices_of_this_host(Path(sys.argv[1]))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for rank, device in devices:
        print(rank, device, size)
