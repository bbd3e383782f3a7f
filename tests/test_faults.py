"""A few rounds of ``soak.py``; scripts/soak.sh runs them for any length of time."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests import soak


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("soak")


@pytest.mark.parametrize("variant", ["plain", "both"])
def test_killed_run_matches_the_reference_run(folder, variant):
    counts = Counter()
    soak.kill(folder, variant, 3, random.Random(1), counts)
    assert counts["kills"] == 3


def test_run_survives_a_failed_write(folder):
    counts, rng = Counter(), random.Random(2)
    while counts.total() - counts["ENOSPC at no operation"] - counts["EIO at no operation"] < 8:
        soak.fail_a_write(folder, "plain", rng, counts)


def test_damaged_files_are_refused_in_one_line(folder):
    counts, rng = Counter(), random.Random(3)
    for _ in range(100):
        soak.damage_a_file(folder, rng, counts)
    assert len([what for what in counts if what.startswith("refused")]) == 8  # all kinds


def test_tampered_files_and_absurd_options_are_handled(folder):
    counts, rng = Counter(), random.Random(4)
    for _ in range(4):
        soak.tamper(folder, rng, counts)
        soak.fuzz_options(folder, rng, counts)
    assert counts.total() == 8
