"""The real Hugging Face `Trainer`, on a model of one number."""

import importlib.util
import os
import warnings

import pytest

from jupyter_gpupredict.run.hints.transformers import TransformersHint
from tests.run.sinks import Exploding, Recorder

for needed in ("transformers", "accelerate", "torch"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed; `make test-frameworks`", allow_module_level=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of their own imports
    import torch
    import transformers.trainer
    from transformers import Trainer, TrainingArguments

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
    pytest.mark.filterwarnings("ignore:.*Detected call of .lr_scheduler.step.*"),
]


class Line(torch.nn.Module):
    """Learns that the answer is three times the question."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.losses = []

    def forward(self, x, labels):
        found = self.layer(x)
        loss = ((found - labels) ** 2).mean()
        if self.training:
            self.losses.append(loss.item())
        return {"loss": loss, "logits": found}


DATA = [{"x": torch.tensor([n / 8]), "labels": torch.tensor([3 * n / 8])} for n in range(8)]
"""In batches of 2: 4 steps an epoch."""


def make_trainer(folder, data=DATA, **options):
    args = TrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            **options,
        }
    )
    return Trainer(model=Line(), args=args, train_dataset=data, eval_dataset=DATA[:4])


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """The first training opens files that stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_trainer(tmp_path_factory.mktemp("warm"), num_train_epochs=1).train()


@pytest.fixture
def hint():
    hint = TransformersHint()
    yield hint
    hint.detach()


@pytest.fixture
def sink(hint):
    sink = Recorder()
    hint.attach(sink)
    return sink


def test_epochs_steps_validations_and_checkpoints(hint, sink, tmp_path):
    make_trainer(tmp_path, num_train_epochs=3, eval_strategy="epoch", save_strategy="epoch").train()
    # both come after `on_epoch_end`, and before the epoch counts as complete
    rest = ["validation", "checkpoint"]
    assert sink.outline == [
        0, "train", *rest, "train", 1, *rest, "train", 2, *rest, "train", 3, "other",
    ]  # fmt: skip
    assert sink.of("epoch") == [(n, 3) for n in range(4)]
    assert sink.of("step") == [(n, 12) for n in range(1, 13)]
    assert {mark[-1] for mark in sink.heard} == {"transformers"}
    hint.poll()


def test_a_trainer_made_before_the_session_is_met_and_left_as_it_was(hint, tmp_path):
    trainer = make_trainer(tmp_path, num_train_epochs=1)
    before = list(trainer.callback_handler.callbacks)
    sink = Recorder()
    hint.attach(sink)
    trainer.train()
    assert sink.of("epoch") == [(0, 1), (1, 1)]
    assert trainer.callback_handler.callbacks == before


def test_evaluation_every_second_step(hint, sink, tmp_path):
    make_trainer(
        tmp_path, num_train_epochs=1, eval_strategy="steps", eval_steps=2, save_strategy="steps",
        save_steps=4,
    ).train()  # fmt: skip
    assert sink.outline == [
        0, "train", "validation", "train", "validation", "checkpoint", "train", 1, "other",
    ]  # fmt: skip


def test_an_evaluation_before_training_comes_before_the_first_epoch(hint, sink, tmp_path):
    make_trainer(tmp_path, num_train_epochs=1, eval_strategy="epoch", eval_on_start=True).train()
    assert sink.outline[:4] == ["validation", "train", 0, "validation"]


def test_max_steps_ends_the_run_within_an_epoch(hint, sink, tmp_path):
    make_trainer(tmp_path, max_steps=6).train()
    # 6 steps of 4 an epoch; how many an epoch has shows after the first step
    assert sink.of("epoch") == [(0, None), (1, 1.5), (1, 1.5)]
    assert sink.of("step")[-1] == (6, 6)


def test_a_fraction_of_epochs(hint, sink, tmp_path):
    make_trainer(tmp_path, num_train_epochs=1.5).train()
    assert sink.of("epoch") == [(0, 1.5), (1, 1.5), (1, 1.5)]
    assert sink.of("step")[-1] == (6, 6)


def test_gradients_that_accumulate_make_fewer_steps(hint, sink, tmp_path):
    make_trainer(tmp_path, num_train_epochs=2, gradient_accumulation_steps=3).train()
    # 4 batches an epoch: one step of 3 and one of the rest
    assert sink.of("epoch") == [(0, 2), (1, 2), (2, 2)]
    assert sink.of("step")[-1] == (4, 4)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield from DATA


def test_data_without_a_length(hint, sink, tmp_path):
    make_trainer(tmp_path, Stream(), max_steps=3).train()
    assert sink.of("epoch") == []
    assert sink.of("step") == [(1, 3), (2, 3), (3, 3)]


def test_a_lone_evaluation_or_prediction_is_no_validation(hint, sink, tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.evaluate()
    trainer.predict(DATA)
    assert sink.heard == []


def test_the_losses_are_the_same(hint, tmp_path):
    losses = []
    for sink in (None, Recorder(), Exploding()):
        if sink is not None:
            hint.detach()
            hint.attach(sink)
        trainer = make_trainer(tmp_path, num_train_epochs=2, eval_strategy="epoch")
        trainer.train()
        losses.append(trainer.model.losses)
    assert len(losses[0]) == 8
    assert losses[0] == losses[1] == losses[2]
    with pytest.raises(RuntimeError, match="no progress"):
        hint.poll()


def test_an_error_in_training_passes(hint, sink, tmp_path):
    trainer = make_trainer(tmp_path)

    def forward(x, labels):
        raise ZeroDivisionError("theirs")

    trainer.model.forward = forward
    with pytest.raises(ZeroDivisionError, match="theirs"):
        trainer.train()
    hint.poll()


def test_a_callback_that_stops_the_training_still_does(hint, sink, tmp_path):
    class Stops(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 2
            return control

    trainer = make_trainer(tmp_path, num_train_epochs=3)
    trainer.add_callback(Stops())
    trainer.train()
    assert sink.of("epoch") == [(0, 3), (0, 3)]
    assert sink.of("step") == [(1, 12), (2, 12)]


def test_a_hundred_times_in_and_out_leaves_the_very_same_objects(hint):
    owner = transformers.trainer.CallbackHandler
    before, defaults = vars(owner)["call_event"], list(transformers.trainer.DEFAULT_CALLBACKS)
    for _ in range(100):
        hint.attach(Recorder())
        assert vars(owner)["call_event"] is not before
        hint.detach()
        hint.detach()
    assert vars(owner)["call_event"] is before
    assert defaults == transformers.trainer.DEFAULT_CALLBACKS
