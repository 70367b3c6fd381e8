import json

import pytest

from src.errors import UsageError
from tools.rank_table import devices_of_this_host


def table(path, **servers):
    """A rank table; servers: address with "_" for "." -> [(rank, device)]."""
    listed = [{"server_id": name.strip("_").replace("_", "."),
               "device": [{"device_id": str(device), "device_ip": "192.1.0.1", "rank_id": str(rank)}
                          for rank, device in devices]} for name, devices in servers.items()]
    path.write_text(json.dumps({"version": "1.0", "server_list": listed, "status": "completed"}))
    return path


def test_a_table_of_one_host_is_of_this_one(tmp_path):
    assert devices_of_this_host(table(tmp_path / "t.json", _10_0_0_1=[(1, 5), (0, 4)])) == ([(0, 4), (1, 5)], 2)


def test_of_several_hosts_the_one_with_an_address_of_ours_counts(tmp_path):
    path = table(tmp_path / "t.json", _192_0_2_77=[(0, 0), (1, 1)], _127_0_0_1=[(2, 0), (3, 1)])
    assert devices_of_this_host(path) == ([(2, 0), (3, 1)], 4)


@pytest.mark.parametrize("content, words", [
    ("", "is not a rank table"), ("[]", "is not a rank table"), ('{"server_list": [{}]}', "KeyError: 'server_id'"),
    ('{"server_list": []}', r"the ranks are \[\], but have to be 0, 1, 2"),
])
def test_what_is_no_table_is_named(tmp_path, content, words):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UsageError, match=words):
        devices_of_this_host(tmp_path / "t.json")


def test_gaps_other_hosts_and_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"the ranks are \[0, 2\]"):
        devices_of_this_host(table(tmp_path / "t.json", _10_0_0_1=[(0, 0), (2, 1)]))
    with pytest.raises(UsageError, match="names the hosts 192.0.2.77, 192.0.2.78, and none"):
        devices_of_this_host(table(tmp_path / "t.json", _192_0_2_77=[(0, 0)], _192_0_2_78=[(1, 0)]))
    with pytest.raises(UsageError, match="absent.json cannot be read"):
        devices_of_this_host(tmp_path / "absent.json")
