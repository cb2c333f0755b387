"""What is in the way of an export stays as it is, and what is put there meanwhile, too."""

import os
import stat

import pytest

from jupyter_gpupredict.core.errors import ExportError, OutputExists
from jupyter_gpupredict.export.deployment import Document
from jupyter_gpupredict.export.function.writing import check, destination, publish

DOCUMENTS = (
    Document("first.txt", "new\n"),
    Document("deploy/second.sh", "new\n", executable=True),
    Document("third.txt", "new\n"),
)


def tree(root):
    """Everything below a folder: kind and content, links not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content = str(path.readlink()) if stat.S_ISLNK(mode) else ""
        if stat.S_ISREG(mode):
            content = path.read_text()
        found[path.relative_to(root).as_posix()] = (stat.S_IFMT(mode), content)
    return found


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work" / "out"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def outside(tmp_path):
    made = tmp_path / "outside"
    made.mkdir()
    for name in ("first.txt", "second.sh", "file"):
        (made / name).write_text("theirs")
    return made


def export(folder, overwrite=True, meanwhile=None):
    with destination(folder) as to:
        check(to, DOCUMENTS, overwrite=overwrite)
        if meanwhile is not None:
            meanwhile()
        return publish(to, DOCUMENTS, overwrite=overwrite)


KINDS = {
    "folder": lambda path, _: path.mkdir(),
    "full folder": lambda path, _: (path / "x").mkdir(parents=True),
    "fifo": lambda path, _: os.mkfifo(path),
    "link to a file": lambda path, outside: path.symlink_to(outside / "file"),
    "link to a folder": lambda path, outside: path.symlink_to(outside),
    "link to nothing": lambda path, outside: path.symlink_to(outside / "nothing"),
    "link to itself": lambda path, _: path.symlink_to(path),
    "file": lambda path, _: path.write_text("theirs"),
}
IN_THE_WAY = [
    *(("first.txt", kind) for kind in KINDS if kind != "file"),
    *(("deploy/second.sh", kind) for kind in KINDS if kind != "file"),
    *(("deploy", kind) for kind in KINDS if "folder" not in kind or "link" in kind),
    *((".", kind) for kind in KINDS if "folder" not in kind or "link" in kind),
    *(("..", kind) for kind in ("fifo", "file", "link to a file", "link to itself")),
]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("place", "kind"), IN_THE_WAY)
def test_nothing_but_a_plain_file_is_replaced(folder, outside, tmp_path, place, kind, overwrite):
    path = {".": folder, "..": folder.parent}.get(place, folder / place)
    if place in (".", ".."):
        folder.rmdir()
        if place == "..":
            folder.parent.rmdir()
    else:
        path.parent.mkdir(exist_ok=True)
        (folder / "third.txt").write_text("theirs")
    KINDS[kind](path, outside)
    before = tree(tmp_path)
    with pytest.raises(ExportError) as caught:
        export(folder, overwrite)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


PUT_THERE = [
    (place, kind, overwrite)
    for place in ("first.txt", "deploy/second.sh", "deploy", "third.txt")
    for kind in KINDS
    for overwrite in (False, True)
    if not (place == "deploy" and kind in ("folder", "full folder"))  # no harm in that
    and not (overwrite and place != "deploy" and kind == "file")  # may be replaced
]


@pytest.mark.parametrize(("place", "kind", "overwrite"), PUT_THERE)
def test_what_is_put_in_the_way_after_the_check_is_not_replaced(
    folder, outside, tmp_path, place, kind, overwrite
):
    if overwrite:  # what was replaced before is put back
        (folder / ("third.txt" if place == "first.txt" else "first.txt")).write_text("old")
    seen = {}

    def put():
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        KINDS[kind](path, outside)
        seen.update(tree(tmp_path))

    with pytest.raises(ExportError):
        export(folder, overwrite, put)
    after = tree(tmp_path)
    assert {path: after.get(path) for path in seen} == seen
    assert after.keys() - seen.keys() <= {"work/out/deploy"}  # an empty folder


@pytest.mark.parametrize(("level", "there"), [("out", True), ("work", True), ("work", False)])
def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(folder, outside, tmp_path, level, there):
    moved = folder if level == "out" else folder.parent
    if there:
        (folder / "first.txt").write_text("old")
    else:
        folder.rmdir()
    before = tree(outside)

    def swap():
        moved.rename(tmp_path / "away")
        moved.symlink_to(outside)

    export(folder, meanwhile=swap)
    assert tree(outside) == before
    written = tmp_path / "away" / ("" if level == "out" else "out")
    assert (written / "first.txt").read_text() == "new\n"
    assert not [path for path in tmp_path.rglob(".gpupredict-*")]


def test_links_above_the_folder_are_followed_once(folder, outside, tmp_path):
    (tmp_path / "short").symlink_to(folder.parent)
    assert export(tmp_path / "short" / "out")[0] == tmp_path / "short" / "out" / "first.txt"
    assert (folder / "deploy" / "second.sh").stat().st_mode & 0o777 == 0o755
    with pytest.raises(OutputExists, match=r"first\.txt, deploy/second\.sh, third\.txt"):
        export(folder, overwrite=False)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", ""])
def test_no_document_leads_out(folder, path):
    with pytest.raises(ExportError), destination(folder) as to:
        publish(to, [Document(path, "x")], overwrite=True)
    assert tree(folder) == {}


def test_the_current_folder_and_one_above(folder, monkeypatch):
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    for named in (folder / "below", folder):
        export(type(folder)("." if named != folder else ".."), overwrite=False)
        assert (named / "third.txt").read_text() == "new\n"
