"""The real Keras 3, on torch."""

import importlib.util
import os
import warnings

import pytest

from jupyter_gpupredict.run.hints.keras import KerasHint
from tests.run.sinks import Exploding, Recorder

np = pytest.importorskip("numpy")
for needed in ("keras", "torch"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed; `make test-frameworks`", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import keras

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:Your input ran out of data"),
]
X = np.arange(8.0, dtype="float32").reshape(8, 1) / 8
"""In batches of 2: 4 steps an epoch."""
VALIDATION = (X[:4], 3 * X[:4])


class Losses(keras.callbacks.Callback):
    """What a training came to, step by step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def fit(model=None, **options):
    model = model or make_model()
    return model.fit(X, 3 * X, **{"batch_size": 2, "verbose": 0, **options})


def check_steps(steps, total):
    """Some may be missing: Keras calls from a pool of threads, and a late one is left out."""
    assert steps == sorted(set(steps))
    assert steps[-1] == (total, total)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """The first fit opens files that stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit()


@pytest.fixture
def hint():
    hint = KerasHint()
    yield hint
    hint.detach()


@pytest.fixture
def sink(hint):
    sink = Recorder()
    hint.attach(sink)
    return sink


def test_epochs_steps_and_validations(hint, sink):
    fit(epochs=3, validation_data=VALIDATION)
    epoch = ["validation", "train"]
    assert sink.outline == [0, "train", *epoch, 1, *epoch, 2, *epoch, 3, "other"]
    assert sink.of("epoch") == [(n, 3) for n in range(4)]
    check_steps(sink.of("step"), 12)
    assert {mark[-1] for mark in sink.heard} == {"keras"}
    hint.poll()


def test_a_training_that_goes_on_from_an_epoch(hint, sink):
    fit(epochs=4, initial_epoch=2)
    assert sink.of("epoch") == [(2, 4), (3, 4), (4, 4)]
    check_steps(sink.of("step"), 16)
    assert sink.of("step")[0][0] > 8  # two epochs of 4 were before


def test_validation_every_second_epoch(hint, sink):
    fit(epochs=2, validation_data=VALIDATION, validation_freq=2)
    assert sink.outline == [0, "train", 1, "validation", "train", 2, "other"]


def test_data_without_a_length(hint, sink):
    def batches():
        for _ in range(3):
            yield X[:2], 3 * X[:2]

    make_model().fit(batches(), verbose=0, shuffle=False)
    assert sink.of("step")[-1] == (3, None)
    assert sink.of("epoch") == [(0, 1), (1, 1)]


def test_several_steps_in_one_call(hint, sink):
    callbacks = keras.callbacks.CallbackList([], model=make_model(), epochs=1, steps=4)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for last in (1, 3):  # as `steps_per_execution=2`, which the torch backend refuses
        callbacks.on_train_batch_end(last)
    callbacks.on_epoch_end(0)
    callbacks.on_train_end()
    assert sink.of("step") == [(2, 4), (4, 4)]


def test_an_early_stop(hint, sink):
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=0)
    fit(epochs=9, callbacks=[stop])
    assert sink.of("epoch") == [(0, 9), (1, 9), (2, 9)]
    assert sink.phases[-1] == "other"


def test_a_lone_evaluate_or_predict_is_no_validation(hint, sink):
    model = make_model()
    model.evaluate(*VALIDATION, verbose=0)
    model.predict(X, verbose=0)
    assert sink.heard == []


def test_a_list_of_callbacks_made_before_the_session(hint):
    callbacks = keras.callbacks.CallbackList([], model=make_model(), epochs=2, steps=1)
    sink = Recorder()
    hint.attach(sink)
    for _ in range(2):
        callbacks.on_train_begin()
        for epoch in range(2):
            callbacks.on_epoch_begin(epoch)
            callbacks.on_train_batch_end(0)
            callbacks.on_epoch_end(epoch)
        callbacks.on_train_end()
        callbacks.on_test_begin()
        callbacks.on_test_end()
    assert sink.of("epoch") == [(0, 2), (1, 2), (2, 2)] * 2
    assert sink.phases == ["train", "other"] * 2
    assert len(callbacks.callbacks) == 1


def test_whether_callbacks_run_asynchronously_is_not_our_choice(hint, sink):
    made = keras.callbacks.CallbackList([], model=make_model(), epochs=1, steps=1)
    hint.detach()
    plain = keras.callbacks.CallbackList([], model=make_model(), epochs=1, steps=1)
    assert made._async_train == plain._async_train
    assert [type(one) for one in made.callbacks] == [type(one) for one in plain.callbacks]


def test_losses_and_history_are_the_same(hint):
    losses, histories = [], []
    for sink in (None, Recorder(), Exploding()):
        if sink is not None:
            hint.detach()
            hint.attach(sink)
        seen = Losses()
        histories.append(fit(epochs=2, validation_data=VALIDATION, callbacks=[seen]).history)
        losses.append(seen.seen)
    assert len(losses[0]) == 8
    assert losses[0] == losses[1] == losses[2]
    assert histories[0] == histories[1] == histories[2]
    with pytest.raises(RuntimeError):
        hint.poll()


def test_an_error_in_training_passes(hint, sink):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError("theirs")

    with pytest.raises(ZeroDivisionError, match="theirs"):
        fit(callbacks=[Fails()])
    hint.poll()


def test_a_hundred_times_in_and_out_leaves_the_very_same_method(hint):
    owner = keras.callbacks.CallbackList
    before = vars(owner)["on_train_begin"]
    for _ in range(100):
        hint.attach(Recorder())
        assert vars(owner)["on_train_begin"] is not before
        hint.detach()
        hint.detach()
    assert vars(owner)["on_train_begin"] is before
