"""Places whose disk goes away are named at start."""

from pathlib import Path

from onward.api.ephemeral import file_system, warning

MOUNTS = """overlay / overlay rw 0 0
/dev/sda1 /data\\040dir ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
"""


def test_a_platform_that_throws_the_disk_away_is_named_with_the_cure():
    said = warning(Path("/app/.onward/journal.db"), {"DYNO": "web.1"}, MOUNTS)
    assert said is not None
    assert "Heroku" in said
    assert "ONWARD_URL=" in said


def test_a_container_is_warned_on_its_overlay_and_not_on_a_volume():
    assert "overlay" in (warning(Path("/app/journal.db"), {}, MOUNTS) or "")
    assert warning(Path("/data dir/journal.db"), {}, MOUNTS) is None


def test_the_nearest_mount_decides():
    assert file_system(Path("/tmp/x"), MOUNTS) == "tmpfs"
    assert file_system(Path("/tmpfoo"), MOUNTS) == "overlay"
    assert file_system(Path("/tmp/x"), "garbage") is None
