"""The log of losses: a line a step, each step once, also when a run is taken up again."""

import json
import os

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from contextual_attention.models.training.run_log import RunLog, read_losses, read_validation


def write(folder, start, steps):
    log = RunLog(folder, start)
    for step in steps:
        log.losses(step, {"whole_distance": 10.0 * step}, seconds=0.123456)
        log.validation(step, {"hole_l1": 0.5 * step}, seconds=2)
    log.picture(steps[-1], torch.zeros(3, 4, 4, dtype=torch.uint8))
    log.close()


def test_lines_are_readable_while_the_run_goes_on(tmp_path):
    log = RunLog(tmp_path, 0)
    log.losses(1, {"whole_distance": 0.5}, seconds=0.25)
    assert read_losses(tmp_path) == [{"step": 1, "whole_distance": 0.5, "seconds": 0.25}]
    assert read_validation(tmp_path) == []
    log.validation(1, {"hole_l1": 8.5}, seconds=1.5)
    assert read_validation(tmp_path) == [{"step": 1, "hole_l1": 8.5, "seconds": 1.5}]
    log.close()


def test_what_is_computed_again_is_written_once(tmp_path):
    write(tmp_path, 0, [1, 2, 3, 4])
    write(tmp_path, 2, [3, 4, 5])
    assert [line["step"] for line in read_losses(tmp_path)] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in read_validation(tmp_path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "torn",
    [
        b'{"step": 3, "whole_dist',
        b"\0" * 50 + b"\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"whole": 1}\n',
        b'{"step": []}\n',
    ],
)
def test_a_torn_line_is_dropped(tmp_path, torn):
    write(tmp_path, 0, [1, 2])
    with (tmp_path / "losses.jsonl").open("ab") as file:
        file.write(torn)
    write(tmp_path, 2, [3])
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_a_full_disk_is_told_with_the_name_of_the_log(tmp_path):
    log = RunLog(tmp_path, 0)
    with open("/dev/full", "w", buffering=1) as file:
        log.files["losses.jsonl"] = file
        with pytest.raises(OSError, match=r"No space left on device: .*losses\.jsonl"):
            log.losses(1, {}, seconds=0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # what is left unwritten goes nowhere


def test_tensorboard_has_the_same(tmp_path):
    write(tmp_path, 0, [1, 2, 3])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("losses/whole_distance")] == [
        (1, 10.0),
        (2, 20.0),
        (3, 30.0),
    ]
    assert [event.value for event in events.Scalars("validation/hole_l1")] == [0.5, 1.0, 1.5]
    assert events.Tags()["images"] == ["samples"]
