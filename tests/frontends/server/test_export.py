"""`POST sessions/{id}/export`: what is written, where, and what is refused."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
from jupyter_server.auth import Authorizer

from jupyter_gpupredict.run import code_hash, environment
from tests.frontends.server import traces

RUN, OTHER = traces.session_id(1), traces.session_id(2)
EXPORT = f"sessions/{RUN}/export"
WISH = {
    "name": "train",
    "workload": "job",
    "sharing": "mps",
    "node_selector": {"gpu": "mps"},
    "sm_percent": 50,
    "output": "out/train",
}

CELL = {"source": "pass", "execution_count": 1, "tags": [], "failed": False}
MEASURED = "net = helper(rate)\nprint(yaml.safe_load('a: 1'))\nlosses.total(net)\n"
NOTEBOOK = [
    {**CELL, "source": "import yaml, losses\nrate = 0.1", "execution_count": 3},
    {**CELL, "source": "raise SystemExit('never taken')", "execution_count": None},
    {**CELL, "source": "def helper(x):\n    return x * 2", "execution_count": 2},
    {**CELL, "source": "%%gpupredict -o run\n" + MEASURED, "execution_count": 4},
    {**CELL, "source": "rate = 99", "execution_count": 5},
]


@pytest.fixture
def run(store):
    traces.whole_run(store, RUN)


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def test_a_preview_writes_nothing(client, run, jp_root_dir):
    status, shown = await client.post(EXPORT, {**WISH, "preview": True})
    assert (status, shown["preview"]) == (200, True)
    assert "kind: Job" in shown["texts"]["deploy/job.yaml"]
    assert "out/train/deploy/job.yaml" in shown["paths"]
    assert files(jp_root_dir) == []
    bare = {key: value for key, value in WISH.items() if key != "output"}
    status, shown = await client.post(EXPORT, {**bare, "preview": True})
    assert (status, shown["paths"]) == (200, [])


async def test_what_is_written_is_what_was_shown(client, run, jp_root_dir):
    shown = (await client.post(EXPORT, {**WISH, "preview": True}))[1]
    status, written = await client.post(EXPORT, WISH)
    assert status == 200
    assert written["paths"] == shown["paths"]
    assert files(jp_root_dir) == sorted(written["paths"])
    for path, text in shown["texts"].items():
        assert (jp_root_dir / "out/train" / path).read_text() == text
    record = json.loads((jp_root_dir / "out/train/gpupredict.json").read_text())
    assert record["function"] == "train"


async def test_a_live_run_can_be_exported_too(client, store, jp_root_dir):
    from jupyter_gpupredict.core import events as ev

    traces.write(
        store, RUN, [traces.started(RUN), ev.RecommendationUpdated(1, 9.0, traces.advice())]
    )
    status, shown = await client.post(EXPORT, {**WISH, "preview": True})
    assert (status, "deploy/job.yaml" in shown["texts"]) == (200, True)


async def test_files_that_are_there_are_kept_unless_told(client, run, jp_root_dir):
    assert (await client.post(EXPORT, WISH))[0] == 200
    kept = jp_root_dir / "out/train/README.md"
    kept.write_text("mine")
    status, error = await client.post(EXPORT, WISH)
    assert (status, error["reason"]) == (409, "conflict")
    assert kept.read_text() == "mine"
    assert (await client.post(EXPORT, {**WISH, "overwrite": True}))[0] == 200
    assert kept.read_text() != "mine"


async def test_what_has_to_be_insisted_on(client, run, store, jp_root_dir):
    live = traces.session_id(2)
    traces.whole_run(store, live, simulated=True)
    status, error = await client.post(f"sessions/{live}/export", WISH)
    assert (status, error["reason"]) == (422, "refused")
    assert error["hint"]
    assert files(jp_root_dir) == []
    wish = {**WISH, "force": True, "preview": True}
    status, shown = await client.post(f"sessions/{live}/export", wish)
    assert (status, shown["warnings"] != []) == (200, True)


async def test_a_run_without_a_recommendation(client, store):
    traces.write(store, RUN, [traces.started(RUN)])
    assert (await client.post(EXPORT, {**WISH, "preview": True}))[0] == 422


@pytest.mark.parametrize(
    "output",
    [
        "",
        ".",
        "/",
        "/etc/gpupredict",
        "..",
        "../beside",
        "out/../../beside",
        "out/.hidden",
        ".ssh",
        "out\\..\\..\\x",
        "nul\0l",
        "x" * 300,
    ],
)
async def test_nothing_is_written_elsewhere(client, run, jp_root_dir, output):
    before = files(jp_root_dir.parent)
    status, error = await client.post(EXPORT, {**WISH, "output": output})
    assert status in (400, 422), error
    assert error["hint"]
    assert [path for path in files(jp_root_dir.parent) if path.endswith(".yaml")] == [
        path for path in before if path.endswith(".yaml")
    ]


@pytest.mark.parametrize("link", ["out", "out/train", "out/train/deploy"])
async def test_no_link_leads_outside(client, run, jp_root_dir, tmp_path, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    (jp_root_dir / link).parent.mkdir(parents=True, exist_ok=True)
    (jp_root_dir / link).symlink_to(outside)
    status, error = await client.post(EXPORT, {**WISH, "overwrite": True})
    assert (status, error["reason"]) == (400, "bad_request")
    assert files(outside) == []


async def test_a_link_within_the_folder_is_followed(client, run, jp_root_dir):
    (jp_root_dir / "real").mkdir()
    (jp_root_dir / "out").symlink_to(jp_root_dir / "real")
    assert (await client.post(EXPORT, WISH))[0] == 200
    assert (jp_root_dir / "real/train/deploy/job.yaml").exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        {},
        {**WISH, "name": 5},
        {**WISH, "workload": "nomad"},
        {**WISH, "sharing": "magic"},
        {**WISH, "force": "yes"},
        {**WISH, "node_selector": {"a": 1}},
        {**WISH, "cells": []},
        {**WISH, "notebook": "a.ipynb"},
        {**WISH, "cells": 5, "notebook": "a.ipynb"},
        {**WISH, "cells": [5], "notebook": "a.ipynb"},
        {**WISH, "cells": [{"source": "1"}], "notebook": "a.ipynb"},
        {**WISH, "cells": [{**CELL, "source": 1}], "notebook": "a.ipynb"},
        {**WISH, "cells": [{**CELL, "execution_count": True}], "notebook": "a.ipynb"},
        {**WISH, "cells": [{**CELL, "failed": 0}], "notebook": "a.ipynb"},
        {**WISH, "cells": [{**CELL, "outputs": []}], "notebook": "a.ipynb"},
        {**WISH, "cells": [CELL] * 2001, "notebook": "a.ipynb"},
        {**WISH, "cells": [{**CELL, "source": "x" * ((4 << 20) + 1)}], "notebook": "a.ipynb"},
        {**WISH, "cells": [CELL], "notebook": "../a.ipynb"},
        {**WISH, "params": ["not a name"]},
        {**WISH, "secrets": "vault"},
        {**WISH, "allow_secrets": "yes"},
        {**WISH, "image": "x" * 1001},
        {**WISH, "sm_count": 4},
        {**WISH, "sm_percent": 101},
        {**WISH, "memory_mib": True},
        {**WISH, "node_selector": {}},
    ],
)
async def test_a_wrong_wish_is_told(client, run, jp_root_dir, body):
    status, error = await client.post(EXPORT, body)
    assert status in (400, 422), error
    assert error["message"]
    assert files(jp_root_dir) == []


async def test_without_a_sharing_backend_the_default_is_meant(client, run):
    wish = {"name": "train", "preview": True, "workload": "job"}
    status, shown = await client.post(EXPORT, wish)
    pairs = (await client.get("status"))[1]["targets"]
    [usual] = [one["sharing"] for one in pairs if one["workload"] == "job" and one["default"]]
    assert (status, shown) == (200, (await client.post(EXPORT, {**wish, "sharing": usual}))[1])


async def test_an_unknown_run(client):
    assert (await client.post(EXPORT, WISH))[0] == 404


def with_code(cells=NOTEBOOK, **changes):
    return {**WISH, "cells": cells, "notebook": "work/train.ipynb", **changes}


@pytest.fixture
def coded(store, jp_root_dir):
    """A run of the measured cell, in the server's own environment; its notebook's folder."""
    code = code_hash(MEASURED)
    traces.whole_run(store, RUN, code_hash=code, environment=environment())
    folder = jp_root_dir / "work"
    folder.mkdir()
    (folder / "losses.py").write_text("def total(x):\n    return x + 1\n")
    return folder


async def test_the_page_sends_the_cells_and_the_folder_holds_the_function(
    client, coded, jp_root_dir
):
    status, made = await client.post(EXPORT, with_code())
    assert status == 200, made
    written = jp_root_dir / "out/train"
    module = (written / "train_fn.py").read_text()
    assert "net = helper(" in module
    assert "never taken" not in module
    assert "99" not in module  # ran later
    assert {"losses.py", "handler.py", "Dockerfile", "deploy/job.yaml"} <= set(files(written))
    pinned = (written / "requirements.txt").read_text()
    assert f"PyYAML=={metadata.version('pyyaml')}" in pinned
    assert any("not imported for a trial" in one for one in made["warnings"])
    ran = subprocess.run(
        [sys.executable, "handler.py", '{"rate": 3}'],
        cwd=written, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "{'a': 1}" in ran.stdout + ran.stderr
    assert "7" in ran.stdout  # 3 * 2 + 1


async def test_no_code_of_the_user_runs_in_the_server(client, store, coded):
    (coded / "losses.py").write_text("raise RuntimeError('user code ran')\n")
    code = "import losses\nlosses.x()\n"
    traces.whole_run(store, OTHER, code_hash=code_hash(code))
    cells = [{**CELL, "source": "%%gpupredict\n" + code}]
    status, made = await client.post(f"sessions/{OTHER}/export", with_code(cells))
    assert status == 200, made
    assert "losses.py" in made["texts"]
    assert "losses" not in sys.modules


async def test_versions_of_another_environment_are_not_made_up(client, store, coded):
    changes = {"environment": "elsewhere", "versions": {"python": "3.12.4"}}
    traces.whole_run(store, OTHER, code_hash=code_hash(MEASURED), **changes)
    status, made = await client.post(f"sessions/{OTHER}/export", with_code(preview=True))
    assert status == 200, made
    text = made["texts"]["requirements.txt"]
    assert "PyYAML\n" in text
    assert "==" not in text
    assert "FROM python:3.12-slim" in made["texts"]["Dockerfile"]
    assert any("versions are not known here" in one for one in made["warnings"])


async def test_a_module_that_only_the_kernel_has(client, store, coded):
    code = "import notinstalledhere\nnotinstalledhere.f()\n"
    traces.whole_run(store, OTHER, code_hash=code_hash(code), environment="elsewhere")
    cells = [{**CELL, "source": "%%gpupredict\n" + code}]
    made = (await client.post(f"sessions/{OTHER}/export", with_code(cells, preview=True)))[1]
    assert "notinstalledhere\n" in made["texts"]["requirements.txt"]
    assert any("what installs module notinstalledhere" in one for one in made["warnings"])
    assert any("Python is not known" in one for one in made["warnings"])


@pytest.mark.parametrize(
    ("cells", "reason", "said"),
    [
        ([CELL], "code", "no cell has the code"),
        ([{**CELL, "source": "%%gpupredict\n" + MEASURED}], "code", "helper"),
        (
            [
                {**NOTEBOOK[0], "source": "import yaml, losses\nrate = 'AKIA" + "A7" * 8 + "'"},
                *NOTEBOOK[1:],
            ],
            "secrets",
            "In [3] line 2 holds what looks like",
        ),
    ],
)
async def test_code_that_cannot_be_taken_is_told_apart(
    client, coded, jp_root_dir, cells, reason, said
):
    status, error = await client.post(EXPORT, with_code(cells))
    assert (status, error["reason"]) == (422, reason), error
    assert said in error["message"]
    assert not (jp_root_dir / "out").exists()
    assert (await client.post(EXPORT, WISH))[0] == 200  # the manifests go without it


async def test_a_parameter_that_the_caller_gives(client, coded):
    cells = [one for one in NOTEBOOK if "def helper" not in one["source"]]
    made = (await client.post(EXPORT, with_code(cells, params=["helper"], preview=True)))[1]
    assert "`helper` (required)" in made["texts"]["README.md"]


@pytest.mark.parametrize("wish", [{"secrets": "env"}, {"secrets": "param"}])
async def test_a_credential_that_the_function_is_given(client, coded, wish):
    key = "AKIA" + "A7" * 8
    cells = [{**NOTEBOOK[0], "source": f"import yaml, losses\nrate = {key!r}"}, *NOTEBOOK[1:]]
    made = (await client.post(EXPORT, with_code(cells, preview=True, **wish)))[1]
    assert key not in json.dumps(made)
    assert ("AWS_ACCESS_KEY_ID" in made["texts"][".env.example"]) is (wish["secrets"] == "env")
    assert ("`rate` (required)" in made["texts"]["README.md"]) is (wish["secrets"] == "param")
    kept = (await client.post(EXPORT, with_code(cells, preview=True, allow_secrets=True)))[1]
    assert key in kept["texts"]["train_fn.py"]


class NoFiles(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return resource != "contents"


async def test_who_may_read_no_files_exports_no_code(client, server, coded):
    server.web_app.settings["authorizer"] = NoFiles(parent=server)
    status, error = await client.post(EXPORT, with_code(preview=True))
    assert (status, error["reason"]) == (403, "not_allowed")
    assert (await client.post(EXPORT, {**WISH, "preview": True}))[0] == 200


async def test_a_preview_names_all_that_is_in_the_way_with_what_helps(client, store):
    code = "print(data, rate, model)\n"
    traces.whole_run(store, OTHER, simulated=True, code_hash=code_hash(code))
    cells = [
        {**CELL, "source": "%%gpupredict\ndata = open('x').read()", "execution_count": 2},
        {**CELL, "source": "%%gpupredict\n" + code, "execution_count": 3},
    ]
    bare = {"name": "train", "workload": "job", "sharing": "mps", "preview": True}
    wish = {**bare, "cells": cells, "notebook": "work/train.ipynb"}
    path = f"sessions/{OTHER}/export"
    status, error = await client.post(path, wish)
    assert (status, error["message"]) == (422, error["obstacles"][0]["message"])
    each = [[tuple(fix["options"]) for fix in one["fixes"]] for one in error["obstacles"]]
    assert each == [
        [("force",)],
        [("params",), ("setup",), ("cells",)],  # names without a definition, in one
        [("node_selector",)],
    ]
    unmade = error["obstacles"][1]["message"]
    assert "uses data, which another measured cell made" in unmade
    assert "no executed cell defines model, rate" in unmade
    given = [fix for one in error["obstacles"] for fix in one["fixes"]]
    assert not [fix for fix in given if "--" in fix["label"]]
    assert [fix["options"]["setup"] for fix in given if "setup" in fix["options"]] == [["2"]]
    assert [fix["asks"] for fix in given if fix["options"] == {"node_selector": None}] == [True]
    met = {"force": True, "node_selector": {"gpu": "mps"}, "params": ["data", "model", "rate"]}
    assert (await client.post(path, {**wish, **met}))[0] == 200
    manifests = (await client.post(path, bare))[1]["obstacles"]
    assert manifests == [error["obstacles"][0], error["obstacles"][-1]]


async def test_one_way_out_of_each_refused_pair(client, run):
    wish = {"name": "train", "preview": True, "workload": "knative", "sharing": "gke"}
    status, error = await client.post(EXPORT, wish)
    [obstacle] = error["obstacles"]
    assert status == 422
    for fix in obstacle["fixes"]:
        status, made = await client.post(EXPORT, {**wish, **fix["options"]})
        assert (status, bool(made.get("texts"))) == (200, True), fix
