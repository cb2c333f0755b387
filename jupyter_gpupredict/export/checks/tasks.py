"""Rules of workloads with a GPU division of their own: ECS tasks and FaSTPods."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import containers, pods, ranks, values
from jupyter_gpupredict.export.checks.containers import pod
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


FASTPOD = "fastgshare/"


def fastpod(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a FaSTPod's annotations, which its own definition does not look at."""
    ledger.stamped = True
    where = "metadata.annotations"
    notes = {
        str(key).removeprefix(FASTPOD): value
        for key, value in table(at(found, "metadata", "annotations")).items()
        if str(key).startswith(FASTPOD)
    }
    known = {"gpu_quota_request", "gpu_quota_limit", "gpu_sm_partition", "gpu_mem"}
    for key in sorted(set(notes) - known):
        ledger.add("fastpod", where, f"{FASTPOD}{key} is unknown")
    for key in sorted(known - set(notes)):
        ledger.add("fastpod", where, f"{FASTPOD}{key} is missing; all four go together")
    for key, value in notes.items():
        if not isinstance(value, str):
            ledger.add("fastpod", where, f"{FASTPOD}{key} must be text, not {value!r}")
            return
    partition, size = notes.get("gpu_sm_partition", "100"), whole(notes.get("gpu_mem"))
    if not values.PERCENT.fullmatch(partition):
        ledger.add("fastpod", where, f"gpu_sm_partition {partition!r} is not from 1 to 100")
    elif partition != "100":
        ledger.carry("sm", Decimal(partition), where)  # 100 is the whole: no share
    try:
        low = Decimal(notes.get("gpu_quota_request", "1"))
        high = Decimal(notes.get("gpu_quota_limit", "1"))
    except InvalidOperation:
        ledger.add("fastpod", where, "a quota is a number from 0 to 1")
    else:
        if not 0 < low <= high <= 1:
            ledger.add("fastpod", where, "needs 0 < gpu_quota_request <= gpu_quota_limit <= 1")
        elif high < 1:
            ledger.carry("time", 100 * high, where)
    if "gpu_mem" in notes and (not size or size % values.MIB):
        ledger.add(
            "fastpod", where, f"gpu_mem {notes['gpu_mem']!r} is no whole number of MiB in bytes"
        )
    elif size:
        ledger.carry("mem", Decimal(size // values.MIB), where)
    ranks.count(at(found, "spec", "replicas") or 1, "spec.replicas", ledger)
    inner = pod(at(found, "spec", "podSpec"), "spec.podSpec")
    before = set(ledger.carried)
    pods.check(inner, ledger)
    for container, path in inner.containers:
        for place, name, _ in containers.variables(container, path):
            if name in (containers.PERCENTAGE, containers.MEMORY):
                ledger.add("mps-conflict", place, "FaST-GShare sets its own limits")
    ledger.carried = before | ledger.carried


def ecs(found: dict[str, Any], ledger: Ledger) -> None:
    """Check an ECS task definition."""
    ledger.stamped = True
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", str(found.get("family", ""))):
        ledger.add("name", "family", "must be letters, digits, _ and -, 255 at most")
    styles: set[str] = set()
    names = []
    for position, one in enumerate(items(found.get("containerDefinitions"))):
        container, path = table(one), f"containerDefinitions[{position}]"
        names.append(container.get("name"))
        containers.image(container.get("image"), join(path, "image"), ledger)
        own = {"env": container.get("environment")}
        mps = containers.environment(own, path, 1, ledger)
        divided = False
        for number, each in enumerate(items(container.get("resourceRequirements"))):
            where, need = f"{path}.resourceRequirements[{number}]", table(each)
            if ("value" in need) == ("sharingStrategy" in need):
                ledger.add("ecs", where, "needs one of value and sharingStrategy")
            if need.get("type") == "GPU":
                styles.add("shared" if "sharingStrategy" in need else "whole")
            elif "sharingStrategy" in need:
                ledger.add("ecs", where, "only a GPU is shared")
            if "sharingStrategy" in need:
                divided = True
                _ecs_share(table(at(need, "sharingStrategy", "nvidiaMps")), where, ledger)
        if len(items(container.get("resourceRequirements"))) > 1:
            ledger.add("ecs", f"{path}.resourceRequirements", "one GPU requirement is enough")
        if "memory" not in container and "memoryReservation" not in container:
            ledger.add("ecs", path, "memory or memoryReservation is needed on EC2")
        if mps and divided:
            ledger.add("mps-conflict", mps[0], "ECS sets both variables itself")
    if len(set(map(str, names))) < len(names):
        ledger.add("name", "containerDefinitions", "one name is given twice")
    if len(styles) > 1:
        ledger.add("ecs", "containerDefinitions", "all containers with a GPU must be alike")
    launch = {str(one) for one in items(found.get("requiresCompatibilities"))}
    wrong = {"FARGATE"} | ({"EXTERNAL"} if "shared" in styles else set())
    if styles and (not launch or launch & wrong):
        message = "must be EC2 or MANAGED_INSTANCES: elsewhere no GPU is shared"
        ledger.add("ecs", "requiresCompatibilities", message)
    keys = [at(one, "key") for one in items(found.get("tags"))]
    for key in sorted({str(key) for key in keys if keys.count(key) > 1}):
        ledger.add("ecs", "tags", f"{key} is given twice")


def _ecs_share(share: dict[str, Any], where: str, ledger: Ledger) -> None:
    percent, memory = share.get("maxComputePercent"), whole(share.get("memory"))
    if percent is not None:
        if isinstance(percent, int) and 1 <= percent <= 100:
            ledger.carry("sm", Decimal(percent), where)
        else:
            ledger.add("ecs", where, f"maxComputePercent {percent!r} is not from 1 to 100")
    if memory:
        ledger.carry("mem", Decimal(memory), where)
    else:
        ledger.add("ecs", where, "memory in MiB, at least 1, is needed")
