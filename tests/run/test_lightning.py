"""The real Lightning, under both of its names."""

import copy
import importlib
import importlib.util
import logging
import pickle
import warnings

import pytest

from jupyter_gpupredict import registry
from tests.run.sinks import Exploding, Recorder

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-frameworks`")
NAMES = {"pytorch_lightning": "pytorch_lightning", "lightning.pytorch": "lightning"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def load(name):
    logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        return importlib.import_module(name)


@pytest.fixture(scope="module", params=sorted(NAMES))
def library(request):
    if importlib.util.find_spec(NAMES[request.param]) is None:
        pytest.skip(f"{NAMES[request.param]} is not installed; `make test-frameworks`")
    library = load(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(library, make_model(library), max_epochs=1, enable_checkpointing=False)  # opens files
    return library


def make_model(library, validates=True, **members):
    """A line fitted to 8 points in batches of 2: 4 steps an epoch, 2 batches of validation."""

    class Line(library.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(1, 1)
            self.losses = []

        def loss(self, batch):
            return ((self.layer(batch) - 3 * batch) ** 2).mean()

        def training_step(self, batch, index):
            loss = self.loss(batch)
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, index):
            self.log("val", self.loss(batch))

        def train_dataloader(self):
            return torch.utils.data.DataLoader(torch.arange(8.0).reshape(8, 1) / 8, batch_size=2)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    if validates:
        members["val_dataloader"] = lambda self: torch.utils.data.DataLoader(
            torch.ones(4, 1), batch_size=2
        )
    return type("Model", (Line,), members)()


def trainer_for(library, **options):
    return library.Trainer(**{**QUIET, **options})


def fit(library, model, **options):
    trainer = trainer_for(library, **options)
    trainer.fit(model)
    return trainer


@pytest.fixture
def hint(library):
    name = NAMES[library.__name__]
    hint = registry.load("hints", name)()
    assert hint.module == library.__name__
    yield hint
    hint.detach()


@pytest.fixture
def sink(hint):
    sink = Recorder()
    hint.attach(sink)
    return sink


def test_epochs_steps_and_validations(library, hint, sink):
    fit(library, make_model(library), max_epochs=3, enable_checkpointing=False)
    # the sanity check comes before the first mark and is not a phase of its own
    epoch = ["train", "validation", "train"]
    assert sink.outline == [0, *epoch, 1, *epoch[1:], 2, *epoch[1:], 3, "other"]
    assert sink.of("epoch") == [(n, 3) for n in range(4)]
    assert sink.of("step") == [(n, 12) for n in range(1, 13)]
    assert {mark[-1] for mark in sink.heard} == {"lightning"}
    hint.poll()


def test_a_trainer_made_before_the_session_is_met_and_left_as_it_was(library, hint):
    trainer = trainer_for(library, max_epochs=1, enable_checkpointing=False)
    before = list(trainer.callbacks)
    sink = Recorder()
    hint.attach(sink)
    trainer.fit(make_model(library))
    assert sink.of("epoch") == [(0, 1), (1, 1)]
    assert [id(one) for one in trainer.callbacks] == [id(one) for one in before]
    hint.detach()
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module)
    assert sink.of("epoch") == [(0, 1), (1, 1)]


def test_a_trainer_that_loses_its_callbacks_meanwhile(library, hint, sink):
    def on_train_end(self):
        self.trainer.callbacks = tuple(self.trainer.callbacks)

    model = make_model(library, on_train_end=on_train_end)
    fit(library, model, max_epochs=1, enable_checkpointing=False)
    assert len(model.losses) == 4
    assert sink.phases[-1] == "other"


def test_a_session_that_ends_within_a_training(library, hint, sink):
    model = make_model(library, on_train_epoch_start=lambda self: hint.detach())
    trainer = fit(library, model, max_epochs=2, enable_checkpointing=False)
    assert len(model.losses) == 8
    assert sink.of("epoch") == [(0, 2)]
    assert all("GpuPredict" not in type(one).__name__ for one in trainer.callbacks)


@pytest.mark.parametrize(
    ("late", "epoch"),
    [
        (True, ["validation", "train", "checkpoint"]),
        (False, ["validation", "checkpoint", "train"]),
    ],
)
def test_a_checkpoint_is_a_phase_and_comes_before_the_epoch_is_complete(
    library, hint, sink, tmp_path, late, epoch
):
    saves = library.callbacks.ModelCheckpoint(dirpath=tmp_path, save_on_train_epoch_end=late)
    trainer = fit(library, make_model(library), max_epochs=2, callbacks=[saves])
    if not late:
        assert sink.outline == [0, "train", *epoch, 1, *epoch, 2, "other"]
        return
    assert sink.outline == [0, "train", *epoch, 1, "train", *epoch, 2, "other"]
    saved = torch.load(saves.best_model_path, weights_only=False)
    assert not any("GpuPredict" in key for key in saved["callbacks"])
    assert all("GpuPredict" not in type(one).__name__ for one in trainer.callbacks)


def test_steps_alone_when_there_is_no_end(library, hint, sink):
    model = make_model(library, on_train_batch_end=stop_after(5))
    fit(library, model, max_epochs=-1, enable_checkpointing=False)
    assert sink.of("epoch")[0] == (0, None)
    assert sink.of("step")[-1][1] is None


def stop_after(steps):
    def on_train_batch_end(self, *args):
        if self.trainer.global_step == steps:
            self.trainer.should_stop = True

    return on_train_batch_end


def test_max_steps_ends_the_run_within_an_epoch(library, hint, sink):
    fit(library, make_model(library), max_steps=6, enable_checkpointing=False)
    # 6 steps of 4 an epoch; the second epoch is cut short and not complete
    assert sink.of("epoch") == [(0, 1.5), (1, 1.5)]
    assert sink.of("step") == [(n, 6) for n in range(1, 7)]


def test_data_without_a_length_has_steps_alone(library, hint, sink):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            while True:
                yield torch.ones(1)

    model = make_model(
        library, False, train_dataloader=lambda self: torch.utils.data.DataLoader(Stream())
    )
    fit(library, model, max_steps=3, enable_checkpointing=False)
    assert sink.of("epoch") == []
    assert sink.of("step") == [(1, 3), (2, 3), (3, 3)]


def test_gradients_that_accumulate_make_fewer_steps(library, hint, sink):
    fit(
        library,
        make_model(library),
        max_epochs=2,
        accumulate_grad_batches=2,
        enable_checkpointing=False,
    )
    assert sink.of("epoch")[-1] == (2, 2)
    assert sink.of("step")[-1] == (4, 4)


def test_a_checkpoint_between_steps(library, hint, sink, tmp_path):
    saves = library.callbacks.ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=3)
    fit(library, make_model(library, False), max_epochs=1, callbacks=[saves])
    assert sink.outline == [0, "train", "checkpoint", "train", 1, "other"]


@pytest.mark.parametrize(
    ("options", "epochs", "steps"),
    [
        ({"max_epochs": 1}, 1, [(2, 4), (4, 4), (6, None), (8, None)]),
        ({"max_steps": 4}, None, [(2, 4), (4, 4)]),
    ],
)
def test_two_optimizers_make_two_steps_of_a_batch(library, hint, sink, options, epochs, steps):
    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    model = make_model(
        library, False, training_step=training_step, configure_optimizers=configure_optimizers
    )
    model.automatic_optimization = False
    fit(library, model, enable_checkpointing=False, **options)
    assert sink.of("epoch")[0] == (0, epochs)
    assert sink.of("step") == steps


def test_validation_within_an_epoch(library, hint, sink):
    fit(
        library,
        make_model(library),
        max_epochs=1,
        val_check_interval=2,
        enable_checkpointing=False,
    )
    assert sink.outline == [0, *["train", "validation"] * 2, "train", 1, "other"]


def test_without_validation(library, hint, sink):
    fit(library, make_model(library, validates=False), max_epochs=1, enable_checkpointing=False)
    assert sink.outline == [0, "train", 1, "other"]


def test_a_lone_validation_is_not_part_of_a_training(library, hint, sink):
    trainer_for(library, enable_checkpointing=False).validate(make_model(library), verbose=False)
    assert sink.heard == []


def test_an_error_in_training_passes_and_ends_the_phase(library, hint, sink):
    def training_step(self, batch, index):
        raise ZeroDivisionError("theirs")

    with pytest.raises(ZeroDivisionError, match="theirs"):
        fit(
            library,
            make_model(library, training_step=training_step),
            max_epochs=1,
            enable_checkpointing=False,
        )
    assert sink.outline == [0, "train", "other"]


def test_the_losses_are_the_same(library, hint):
    losses = []
    for sink in (None, Recorder(), Exploding()):
        if sink is not None:
            hint.detach()
            hint.attach(sink)
        model = make_model(library)
        fit(library, model, max_epochs=2, enable_checkpointing=False)
        losses.append(model.losses)
    assert losses[0] == losses[1] == losses[2]
    with pytest.raises(RuntimeError, match="no progress"):
        hint.poll()


def test_a_library_that_has_changed_costs_the_hint_alone(library, hint, sink, monkeypatch):
    monkeypatch.setattr(library.Trainer, "estimated_stepping_batches", property(lambda self: 1 / 0))
    model = make_model(library)
    fit(library, model, max_epochs=1, enable_checkpointing=False)
    assert len(model.losses) == 4
    with pytest.raises(ZeroDivisionError):
        hint.poll()


def test_a_hundred_times_in_and_out_leaves_the_very_same_method(library, hint):
    before = vars(library.Trainer)["fit"]
    for _ in range(100):
        hint.attach(Recorder())
        assert vars(library.Trainer)["fit"] is not before
        assert library.Trainer.fit.__doc__ == before.__doc__
        hint.detach()
        hint.detach()
    assert vars(library.Trainer)["fit"] is before


def test_a_copy_of_the_callback_is_mute(library, hint, sink):
    for copied in (copy.deepcopy(hint._callback), pickle.loads(pickle.dumps(hint._callback))):
        assert type(copied) is library.Callback
