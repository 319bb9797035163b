"""The model of the disk that power failures are played on: what is certain, and what may happen."""

import random
from pathlib import Path

from power.disk import SECTOR, Disk, Image, Op, Policy

ROOT = 1
FILE = 7
OLD = Op("c", "/d/old", 6, 0, b"")
CREATED = Op("c", "/d/new", FILE, 0, b"")
WRITTEN = Op("w", "", FILE, 0, b"x" * (4 * SECTOR))
SYNCED = Op("s", "", FILE, 0, b"")
FOLDER_SYNCED = Op("d", "", ROOT, 0, b"")
RENAMED = Op("r", "/d/new", 0, 0, b"/d/old")


def possible(*ops: Op, policy: Policy = "torn") -> list[Image]:
    """Disks that a failure after `ops` can leave."""
    disk = Disk(Path("/d"), ROOT)
    for op in ops:
        disk.apply(op)
    chance = random.Random(0)
    return [disk.image(policy, chance) for _ in range(300)]


def test_a_synced_file_in_a_synced_directory_is_there_whole() -> None:
    found = possible(CREATED, WRITTEN, SYNCED, FOLDER_SYNCED)
    assert {image.files["new"] for image in found} == {WRITTEN.data}


def test_a_synced_file_whose_directory_was_not_synced_may_have_no_name() -> None:
    names = [set(image.files) for image in possible(CREATED, WRITTEN, SYNCED)]
    assert {"new"} in names
    assert set() in names


def test_a_file_that_was_not_synced_may_hold_any_of_its_sectors() -> None:
    found = {image.files["new"] for image in possible(CREATED, FOLDER_SYNCED, WRITTEN)}
    assert {b"", WRITTEN.data, bytes(SECTOR) + b"x" * SECTOR} <= found
    assert bytes(4 * SECTOR) in found  # its length has arrived, its data has not
    assert len(found) > 10


def test_a_file_renamed_before_it_was_synced_may_replace_the_old_one_by_nothing() -> None:
    before = (OLD, Op("w", "", 6, 0, b"old"), Op("s", "", 6, 0, b""), FOLDER_SYNCED)
    found = {image.files["old"] for image in possible(*before, CREATED, WRITTEN, RENAMED, FOLDER_SYNCED)}
    assert b"" in found
    kept = {image.files["old"] for image in possible(*before, CREATED, WRITTEN, SYNCED, RENAMED)}
    assert kept == {b"old", WRITTEN.data}


def test_a_file_with_two_names_has_one_content_and_keeps_it_under_the_second() -> None:
    second = Op("c", "/d/kept", FILE, 0, b"")
    found = possible(CREATED, FOLDER_SYNCED, second, WRITTEN, Op("u", "/d/new", 0, 0, b""))
    names = {frozenset(image.files) for image in found}
    assert names == {frozenset({"new"}), frozenset({"new", "kept"}), frozenset({"kept"})}
    assert all(len(set(image.files.values())) == 1 for image in found)
    assert len({image.files["kept"] for image in found if "kept" in image.files}) > 10


def test_names_come_in_order() -> None:
    for image in possible(CREATED, OLD):
        assert set(image.files) in (set(), {"new"}, {"new", "old"})


def test_what_lies_in_a_directory_that_was_lost_is_lost() -> None:
    made = Op("m", "/d/sub", 3, 0, b"")
    inside = (made, Op("c", "/d/sub/new", FILE, 0, b""), WRITTEN, SYNCED, Op("d", "", 3, 0, b""))
    assert {len(image.files) for image in possible(*inside)} == {0, 1}
    assert {len(image.files) for image in possible(*inside, policy="dropped")} == {0}
    assert {len(image.files) for image in possible(*inside, FOLDER_SYNCED)} == {1}
