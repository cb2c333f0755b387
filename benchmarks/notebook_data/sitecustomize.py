"""Small random data in the place of data sets that public notebooks download.

Python imports it at its start where its folder is on PYTHONPATH; notebooks.py has it so. A library
is changed when the code has imported it, the same way for the cells and for their function.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

_import = builtins.__import__
_depth = 0
_done: set[str] = set()


def _chance() -> Any:
    import numpy

    return numpy.random.default_rng(0)


def _pictures(shape: tuple[int, ...], classes: int) -> Any:
    def load_data(*_: Any, **__: Any) -> Any:
        chance = _chance()

        def part(size: int) -> Any:
            x = chance.integers(0, 255, (size, *shape)).astype("uint8")
            return x, chance.integers(0, classes, (size,)).astype("uint8")

        return part(512), part(128)

    return load_data


def _words(*_: Any, num_words: int | None = 1000, **__: Any) -> Any:
    import numpy

    chance = _chance()

    def part(size: int) -> Any:
        x = numpy.empty(size, dtype=object)
        x[:] = [list(map(int, chance.integers(1, num_words or 1000, 20))) for _ in range(size)]
        return x, chance.integers(0, 2, size)

    return part(512), part(128)


def _houses(*_: Any, **__: Any) -> Any:
    chance = _chance()
    return (chance.random((404, 13)), chance.random(404)), (
        chance.random((102, 13)),
        chance.random(102),
    )


def keras(module: Any) -> None:
    """Images, sequences of words and houses."""
    sets = module.datasets
    for name in ("mnist", "fashion_mnist"):
        getattr(sets, name).load_data = _pictures((28, 28), 10)
    sets.cifar10.load_data = _pictures((32, 32, 3), 10)
    sets.imdb.load_data = sets.reuters.load_data = _words
    for name in ("boston_housing", "california_housing"):
        if hasattr(sets, name):
            getattr(sets, name).load_data = _houses


def tensorflow(module: Any) -> None:
    """What Keras has, under TensorFlow's name."""
    keras(module.keras)


def torch(module: Any) -> None:
    """torchvision imports without its compiled operators, too."""
    whole = module.library.register_fake

    def register_fake(operator: Any, *given: Any, **options: Any) -> Any:
        if str(operator).startswith("torchvision::"):
            return lambda function: function
        return whole(operator, *given, **options)

    module.library.register_fake = register_fake


def torchvision(module: Any) -> None:
    """Data sets of images with labels."""
    import numpy
    import PIL.Image
    import torch as _torch

    base = module.datasets.VisionDataset

    def made(shape: tuple[int, ...], classes: int, *, tensors: bool) -> type:
        class Pictures(base):  # type: ignore[misc]
            def __init__(self, root: Any = ".", *given: Any, **options: Any) -> None:
                options.pop("download", None)
                first = given[0] if given else True
                train = options.pop("train", options.pop("split", first))
                super().__init__(str(root), **options)
                (x, y), (x_test, y_test) = _pictures(shape, classes)()
                self.train = train in (True, "train")
                x, y = (x, y) if self.train else (x_test, y_test)
                self.data = _torch.from_numpy(x) if tensors else x
                self.targets = _torch.from_numpy(y).long() if tensors else y.tolist()
                self.labels = self.targets
                self.classes = [str(n) for n in range(classes)]
                self.class_to_idx = {name: n for n, name in enumerate(self.classes)}

            def __len__(self) -> int:
                return len(self.data)

            def __getitem__(self, index: int) -> Any:
                picture: Any = PIL.Image.fromarray(numpy.asarray(self.data[index]))
                label: Any = int(self.targets[index])
                if self.transform is not None:
                    picture = self.transform(picture)
                if self.target_transform is not None:
                    label = self.target_transform(label)
                return picture, label

        return Pictures

    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        setattr(module.datasets, name, made((28, 28), 10, tensors=True))
    for name, classes in (("CIFAR10", 10), ("CIFAR100", 100), ("SVHN", 10)):
        setattr(module.datasets, name, made((32, 32, 3), classes, tensors=False))
    for name in ("mnist", "cifar"):
        place = sys.modules.get(f"torchvision.datasets.{name}")
        for one in ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"):
            if place is not None and hasattr(place, one):
                setattr(place, one, getattr(module.datasets, one))


def sklearn(module: Any) -> None:
    """What `fetch_...` downloads."""
    import numpy

    sets = _import("sklearn.datasets", fromlist=["load_digits"])
    bunch = _import("sklearn.utils", fromlist=["Bunch"]).Bunch

    def digits(*_: Any, as_frame: Any = False, return_X_y: bool = False, **__: Any) -> Any:  # noqa: N803
        chance = _chance()
        x = chance.integers(0, 255, (1000, 784)).astype(float)
        y = chance.integers(0, 10, 1000).astype(str).astype(object)
        return (x, y) if return_X_y else bunch(data=x, target=y, DESCR="", feature_names=[])

    def housing(*_: Any, return_X_y: bool = False, as_frame: bool = False, **__: Any) -> Any:  # noqa: N803
        chance = _chance()
        names = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup",
                 "Latitude", "Longitude"]  # fmt: skip
        x, y = chance.random((600, 8)), chance.random(600)
        if as_frame:
            import pandas

            x, y = pandas.DataFrame(x, columns=names), pandas.Series(y, name="MedHouseVal")
        return (x, y) if return_X_y else bunch(data=x, target=y, feature_names=names, DESCR="")

    def faces(*_: Any, **__: Any) -> Any:
        chance = _chance()
        pictures, people = chance.random((400, 62, 47)), numpy.repeat(numpy.arange(8), 50)
        return bunch(
            images=pictures,
            data=pictures.reshape(400, -1),
            target=people,
            target_names=numpy.array([str(n) for n in range(8)]),
            DESCR="",
        )

    def news(*_: Any, categories: Any = None, **__: Any) -> Any:
        chance = _chance()
        names = list(categories or ["sci.space", "rec.autos", "talk.religion.misc"])
        words = [" ".join(f"w{n}" for n in chance.integers(0, 300, 30)) for _ in range(300)]
        return bunch(data=words, target=chance.integers(0, len(names), 300), target_names=names)

    sets.fetch_openml, sets.fetch_california_housing = digits, housing
    sets.fetch_olivetti_faces = sets.fetch_lfw_people = faces
    sets.fetch_20newsgroups = news


def seaborn(module: Any) -> None:
    """The iris, which scikit-learn ships; of other tables nothing is known."""
    whole = module.load_dataset

    def load_dataset(name: str, *given: Any, **options: Any) -> Any:
        if name != "iris":
            return whole(name, *given, **options)
        import sklearn.datasets

        found = sklearn.datasets.load_iris(as_frame=True).frame
        found.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
        found["species"] = found["species"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
        return found

    module.load_dataset = load_dataset


def shap(module: Any) -> None:
    """Tables with the columns that the notebooks use."""
    import numpy
    import pandas

    def adult(*_: Any, **__: Any) -> Any:
        names = ["Age", "Workclass", "Education-Num", "Marital Status", "Occupation",
                 "Relationship", "Race", "Sex", "Capital Gain", "Capital Loss", "Hours per week",
                 "Country"]  # fmt: skip
        chance = _chance()
        found = pandas.DataFrame(chance.integers(0, 9, (600, 12)).astype(float), columns=names)
        return found, numpy.asarray(chance.random(600) > 0.6)

    def california(*_: Any, **__: Any) -> Any:
        chance = _chance()
        names = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup",
                 "Latitude", "Longitude"]  # fmt: skip
        return pandas.DataFrame(chance.random((600, 8)), columns=names), chance.random(600)

    module.datasets.adult, module.datasets.california = adult, california


def tensorflow_datasets(module: Any) -> None:
    """Images with labels."""
    import tensorflow as tf

    def load(name: str, *given: Any, split: Any = None, **options: Any) -> Any:
        shape = (32, 32, 3) if "cifar" in name else (28, 28, 1)
        parts = dict(zip(("train", "test"), _pictures(shape, 10)(), strict=True))

        def one(wanted: str) -> Any:
            x, y = parts["test" if "test" in wanted or "valid" in wanted else "train"]
            y = y.astype("int64")
            if options.get("batch_size") == -1:
                pair = (tf.constant(x), tf.constant(y))
                return (
                    pair
                    if options.get("as_supervised")
                    else dict(zip(("image", "label"), pair, strict=True))
                )
            if options.get("as_supervised"):
                found = tf.data.Dataset.from_tensor_slices((x, y))
            else:
                found = tf.data.Dataset.from_tensor_slices({"image": x, "label": y})
            return found

        if isinstance(split, str):
            found: Any = one(split)
        elif split:
            found = [one(part) for part in split]
        else:
            found = {part: one(part) for part in parts}
        return (found, None) if options.get("with_info") else found

    module.load = load


def _changed() -> None:
    for name in (
        "torch", "torchvision", "keras", "tensorflow", "sklearn", "seaborn", "shap",
        "tensorflow_datasets",
    ):  # fmt: skip
        if name in sys.modules and name not in _done:
            _done.add(name)
            globals()[name](sys.modules[name])


def _imported(*given: Any, **options: Any) -> Any:
    global _depth  # noqa: PLW0603 - of this process
    _depth += 1
    try:
        if given[0].partition(".")[0] == "torchvision" and "torch" not in _done:
            _import("torch")
            _done.add("torch")
            torch(sys.modules["torch"])
        return _import(*given, **options)
    finally:
        _depth -= 1
        if not _depth:
            _changed()


builtins.__import__ = _imported
