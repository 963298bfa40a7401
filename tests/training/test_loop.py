"""The loop with a model that counts: what is done when, and in which order."""

import contextlib
import io

import numpy as np
import pytest
from rich.console import Console

from genjax.errors import UserError
from genjax.models.base import TrainState
from genjax.training import loop
from genjax.training.writers import Progress


def state(step: int) -> TrainState:
    return TrainState(step=np.int32(step), params={}, opt={}, stats={}, ema={})


class Run:
    """Runs the loop and keeps an account of it; the loss of step k is `losses(k)`."""

    def __init__(
        self, start=0, total=12, per_call=2, log=4, save=8, losses=float, scores=None, held=None,
        stop_at=None, patience=0, before=(),
    ):  # fmt: skip
        self.events, self.saved, self.written, self.held = [], [*before], [], {}
        self.stop_at = stop_at
        self.losses, self.scores = losses, {"score": 1.0} if scores is None else scores
        cadence = loop.Cadence(
            total_steps=total,
            steps_per_call=per_call,
            log_every=log,
            checkpoint_every=save,
            patience=patience,
        )
        blocks = [None] * ((total - start) // per_call)
        self.per_call = per_call
        with contextlib.closing(io.StringIO()) as screen, contextlib.ExitStack() as stack:
            stack.callback(lambda: setattr(self, "screen", screen.getvalue()))
            self.last = loop.train(
                state(start),
                self.run_block,
                blocks,
                cadence=cadence,
                images_per_step=1,
                evaluate=self.evaluate,
                checkpoints=self,
                writer=self,
                progress=Progress(total, enabled=False, console=Console(file=screen)),
                watch=lambda step, row: [f"{step} has {len(row)}"],
                held=held or {},
                asked=lambda: self.step == self.stop_at,
            )

    def run_block(self, before, block):
        del block
        first = int(before.step)
        steps = range(first + 1, first + self.per_call + 1)
        self.step = steps[-1]
        return state(steps[-1]), {"loss": np.array([self.losses(step) for step in steps])}

    def evaluate(self, now):
        step = int(now.step)
        self.events.append(("evaluate", step))
        return {"score": self.scores[step]} if step in self.scores else self.scores

    def steps(self):
        """As if only improvements were ranked: the best is the first with the highest score."""
        ranked = [(step, scores["score"]) for step, scores in self.saved if "score" in scores]
        best = max(ranked, key=lambda pair: pair[1], default=None)
        return {"last": self.saved[-1][0], **({"best": best[0]} if best else {})}

    def save(self, now, scores, held=None):
        self.events.append(("save", int(now.step)))
        self.saved.append((int(now.step), scores))
        self.held = held

    def finish(self):
        assert not self.events or self.events[-1][0] == "save"

    def write(self, step, metrics):
        self.events.append(("write", step))
        self.written.append((step, metrics))

    def flush(self):
        self.events.append(("flush", None))


def test_metrics_are_means_over_the_steps_since_the_last_row():
    """The loss of step k is k: the means of 1..4, 5..8 and 9..12."""
    run = Run()
    losses = [(step, row["train/loss"]) for step, row in run.written if "train/loss" in row]
    assert losses == [(4, 2.5), (8, 6.5), (12, 10.5)]
    assert int(run.last.step) == 12


def test_what_there_is_to_say_of_a_row_is_said():
    lines = [line for line in Run(total=8).screen.splitlines() if " has " in line]
    assert lines == ["4 has 1", "8 has 1", "8 has 1"]  # the last is validation's


def test_a_checkpoint_is_evaluated_then_written_then_saved():
    events = Run().events
    start = events.index(("evaluate", 8))
    assert events[start : start + 4] == [
        ("evaluate", 8),
        ("write", 8),
        ("flush", None),
        ("save", 8),
    ]
    assert ("write", 8) in events[:start]  # the training row is there before


def test_the_last_step_is_logged_and_saved_even_off_the_beat():
    run = Run(total=10, log=4, save=8)
    assert [step for step, _ in run.saved] == [8, 10]
    assert [step for step, row in run.written if "train/loss" in row] == [4, 8, 10]


def test_a_resumed_run_goes_on_with_the_same_beat():
    run = Run(start=8)
    assert [step for step, _ in run.saved] == [12]
    assert dict(run.written[:1])[12] == {"train/loss": 10.5}


@pytest.mark.parametrize("stop_at", [2, 4, 6, 8, 10, 12])
def test_a_run_that_is_asked_to_stop_ends_after_its_block_and_goes_on_the_same(stop_at):
    """It is saved there, with what waits for its row; only the beat asks for a score."""
    whole, first = Run(), Run(stop_at=stop_at)
    assert int(first.last.step) == first.saved[-1][0] == stop_at
    assert bool(first.saved[-1][1]) == (stop_at in (8, 12))
    assert len({step for step, _ in first.saved}) == len(first.saved)
    second = Run(start=stop_at, held=first.held)
    assert first.written + second.written == whole.written
    waiting = {"loss": [stop_at - 1.0, stop_at]} if stop_at in (2, 6, 10) else {}
    assert {name: values.tolist() for name, values in (first.held or {}).items()} == waiting


def test_what_is_not_finite_is_not_saved_when_asked_to_stop():
    with pytest.raises(UserError, match="step 5: loss is nan"):
        Run(losses=lambda step: np.nan if step == 5 else 1.0, stop_at=6)


def test_a_finished_run_does_nothing():
    run = Run(start=12)
    assert run.events == []
    assert int(run.last.step) == 12


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_step_that_is_not_finite_is_named_and_not_saved(bad):
    with pytest.raises(UserError, match=r"step 7: loss is (nan|inf|-inf), no longer finite"):
        Run(losses=lambda step: bad if step >= 7 else 1.0, save=4)


def test_a_validation_score_that_is_nan_is_named_and_not_saved():
    with pytest.raises(UserError, match="step 8: validation score is nan"):
        Run(scores={"score": float("nan")})
    assert [step for step, _ in Run(scores={"psnr": float("inf")}).saved] == [8, 12]


#: The best is that of step 8.
COURSE = {4: 1.0, 8: 3.0, 12: 2.0, 16: 2.5, 20: 2.9, 24: 9.0}


def test_a_run_is_over_when_nothing_was_better_for_its_patience():
    run = Run(total=24, save=4, patience=8, scores=COURSE)
    assert [step for step, _ in run.saved] == [4, 8, 12, 16]
    assert int(run.last.step) == 16
    assert "step 16: nothing was better since step 8" in run.screen
    assert [step for step, _ in Run(total=24, save=4, scores=COURSE).saved] == list(COURSE)


@pytest.mark.parametrize("patience", [6, 8])
@pytest.mark.parametrize("stop_at", [6, 8, 14])
def test_patience_outlives_a_stop(stop_at, patience):
    """The best checkpoint is known from the disk: a resumed run ends where an unbroken one does."""
    settings = {"total": 24, "save": 4, "patience": patience, "scores": COURSE}
    first = Run(**settings, stop_at=stop_at)
    second = Run(**settings, start=stop_at, held=first.held, before=first.saved)
    assert int(second.last.step) == 16
    assert first.written + second.written == Run(**settings).written


def test_a_cadence_knows_when_a_run_is_over():
    cadence = loop.Cadence(
        total_steps=100, steps_per_call=1, log_every=1, checkpoint_every=1, patience=10
    )
    is_over = lambda **steps: cadence.is_over(steps)
    assert not is_over()
    assert not is_over(last=50)
    assert not is_over(last=50, best=41)
    assert is_over(last=50, best=40)
    assert is_over(last=100, best=99)


def test_a_stop_between_two_scores_does_not_use_up_patience():
    """At 1310 the last score is that of 1200, which is 900 steps after the best."""
    cadence = loop.Cadence(
        total_steps=9000, steps_per_call=1, log_every=1, checkpoint_every=300, patience=1000
    )
    assert not cadence.is_over({"last": 1310, "best": 300})
    assert cadence.is_over({"last": 1500, "best": 300})
