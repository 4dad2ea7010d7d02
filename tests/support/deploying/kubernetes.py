"""Kubernetes' own schemas of the kinds that the chart makes, since no cluster judges it here.

They are kept beside the tests, as the package kubernetes-validate ships them in its strict form:
a field that Kubernetes does not know is a fault. To keep them anew, with that package at hand:
`uv run --no-project --with kubernetes-validate==1.37.0 python -m MODULE`, where MODULE is
tests.support.deploying.kubernetes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dev.workers import ROOT

KEPT = ROOT / "tests/golden/kubernetes"
#: The oldest that the chart is for, and the newest.
VERSIONS = ("1.27", "1.37")
KINDS = {
    ("apps/v1", "Deployment"): "io.k8s.api.apps.v1.Deployment",
    ("apps/v1", "StatefulSet"): "io.k8s.api.apps.v1.StatefulSet",
    ("batch/v1", "Job"): "io.k8s.api.batch.v1.Job",
    ("networking.k8s.io/v1", "NetworkPolicy"): "io.k8s.api.networking.v1.NetworkPolicy",
    ("policy/v1", "PodDisruptionBudget"): "io.k8s.api.policy.v1.PodDisruptionBudget",
    ("v1", "Service"): "io.k8s.api.core.v1.Service",
}
_NOTICE = (
    "From the OpenAPI document of Kubernetes, as kubernetes-validate has it; both under the "
    "Apache License 2.0. Descriptions are left out."
)
_REFERENCE = "#/$defs/"


def faults_of(version: str, one: dict[str, Any]) -> list[str]:
    """What this version of Kubernetes would refuse of an object.

    Raises:
        KeyError: of an object of a kind that is none of `KINDS`.
    """
    from jsonschema import Draft202012Validator

    kind = KINDS[one["apiVersion"], one["kind"]]
    schema = {"$ref": _REFERENCE + kind, "$defs": _definitions(version)}
    found = Draft202012Validator(schema).iter_errors(one)
    return [f"{'.'.join(map(str, each.path))}: {each.message}" for each in found]


@cache
def _definitions(version: str) -> dict[str, Any]:
    kept = json.loads((KEPT / f"{version}.json").read_text())
    definitions: dict[str, Any] = kept["$defs"]
    return definitions


# ---- to keep them anew


def _needed(everything: dict[str, Any]) -> dict[str, Any]:
    """Definitions of the kinds, and all that these refer to."""
    found: dict[str, Any] = {}
    wanted = list(KINDS.values())
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _bare(everything[name])
            wanted += _references(found[name])
    return dict(sorted(found.items()))


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(name := part.get("$ref"), str):
            yield name.removeprefix(_REFERENCE)
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def _bare(part: Any) -> Any:
    """Without what judges nothing. A property may be called so too: then it is no text."""
    if isinstance(part, dict):
        told = {"description", "format"}
        kept = {k: v for k, v in part.items() if not (k in told and isinstance(v, str))}
        return {k: _bare(v) for k, v in kept.items() if not k.startswith("x-kubernetes-")}
    return [_bare(inner) for inner in part] if isinstance(part, list) else part


def main() -> None:
    """Write both files again."""
    package = importlib.util.find_spec("kubernetes_validate")
    assert package is not None, "kubernetes-validate is not installed"
    assert package.origin is not None
    schemas = Path(package.origin).parent / "kubernetes-json-schema"
    for version in VERSIONS:
        file = schemas / f"v{version}.0-local-strict/_definitions.json"
        needed = _needed(json.loads(file.read_text())["$defs"])
        # A line each, so that a change can be seen.
        lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in needed.items()]
        parts = f'"$comment": {json.dumps(_NOTICE)},\n"$defs": {{\n' + ",\n".join(lines)
        (KEPT / f"{version}.json").write_text(f"{{{parts}\n}}}}\n")


if __name__ == "__main__":
    main()
