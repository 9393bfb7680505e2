"""`ammup schema`: the real outputs and files match their schemas, and contain no key that is not documented."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import assert_refused, run

from ammup.claims import baselines
from ammup.schemas.schema import ABOUT, MODELS, json_schema

ROOT = Path(__file__).parents[2]
TRAIN = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int)
parser.add_argument("--lr", type=float)
options = parser.parse_args()
for step in range(1, 21):
    loss = 1 / (1 + options.lr * step) if options.lr * options.depth < 1 else 2.0 + step
    print(json.dumps({"step": step, "loss": loss, "score": -loss}), flush=True)
"""


def closed(schema: Any) -> Any:
    """The schema, in which objects with named keys allow no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    return parts | {"additionalProperties": False} if "properties" in schema else parts


def check(name: str, content: Any) -> None:
    """Raise unless the content matches the schema, and every key of it is documented."""
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema, cls=jsonschema.Draft202012Validator)
    jsonschema.validate(content, closed(schema), cls=jsonschema.Draft202012Validator)


def printed(*arguments: object, code: int = 0) -> Any:
    """The JSON that a command prints."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def _train(folder: Path) -> Path:
    (folder / "train.py").write_text(TRAIN)
    return folder / "train.py"


OUTPUTS: dict[str, list[Callable[[Path, Path], Any]]] = {
    "exponent": [
        lambda _s, _t: printed("exponent", "mlp", "--depths", "2,4", "--seeds", 2, "--width", 8),
        lambda _s, _t: printed(
            "exponent", "mlp", "--depths", "2,4", "--seeds", 2, "--width", 8, "--measure", "sharpness"
        ),
    ],
    "depth": [
        lambda _s, _t: printed("depth", "resnet", "--depths", "2,4"),
        lambda _s, _t: printed("depth", "torchvision:resnet18", "--depths", "8"),
    ],
    "transfer": [
        lambda _s, _t: printed("transfer", "mlp", "--lr", 0.1, "--from", 2, "--to", "3,4", "--seeds", 2, "--width", 8),
        lambda _s, _t: printed(
            *("transfer", "mlp", "--lr", 0.1, "--from", 2, "--to", 4, "--seeds", 2, "--width", 8),
            *("--optimizer", "adamw", "--sharpness"),
        ),
    ],
    "check": [
        lambda _s, _t: printed(
            "check", "mlp", "--depths", "2,4", "--width", 8, "--seeds", 2, "--expected", -1, "--margin", 90
        ),
        lambda _s, _t: printed(
            "check", "mlp", "--depths", "2,4", "--width", 64, "--seeds", 8, "--expected", 5, "--margin", 0.1, code=1
        ),
    ],
    "tune": [
        lambda _s, tmp: json.loads(
            run(
                *("tune", "--depths", 2, "--target", 4, "--steps", 20, "--probes", 2, "--json", "--store"),
                *(tmp / "tune.db", "--", "python", _train(tmp), "--depth", "{depth}", "--lr", "{lr}"),
            ).stdout
        ),
    ],
    "sweep": [lambda sweep, _t: printed("sweep", "--store", sweep / "runs.db", "--status")],
    "sweep-dry-run": [
        lambda sweep, tmp: printed("sweep", sweep / "small.toml", "--store", tmp / "new.db", "--dry-run"),
    ],
    "sweep-merge": [
        lambda sweep, tmp: printed("sweep", "--store", tmp / "new.db", "--merge", sweep / "runs.db"),
    ],
    "fit": [
        lambda sweep, _t: printed("fit", sweep / "runs.db", "--transfer"),
        lambda sweep, _t: printed("fit", sweep / "runs.db", "--optimum", "edge", "--keep-flagged"),
        lambda _s, _t: printed("fit", ROOT / "baselines/sweeps/resnet-batchnorm-cifar10-small.json", "--transfer"),
    ],
    "claims": [
        lambda _s, _t: printed("claims"),
        lambda _s, _t: printed("claims", "--id", "theorem-1.exponent-mlp"),
    ],
    "baselines-diff": [],  # below
    "report": [lambda sweep, tmp: printed("report", sweep / "runs.db", "-o", tmp / "page.html")],
    "sweep-record": [
        lambda sweep, tmp: _exported(sweep, tmp),
        *(
            lambda _s, _t, path=path: json.loads(path.read_text())
            for path in sorted((ROOT / "baselines" / "sweeps").rglob("*.json"))
        ),
    ],
    "check-baseline": [lambda _s, tmp: _recorded(tmp)],
    "claims-baselines": [
        lambda _s, _t, path=path: json.loads(path.read_text()) for path in sorted((ROOT / "baselines").glob("*.json"))
    ],
}
CASES = [(name, i) for name, makers in OUTPUTS.items() for i in range(len(makers))]


def _exported(sweep: Path, folder: Path) -> Any:
    assert run("fit", sweep / "runs.db", "--export", folder / "record.json").exit_code == 0
    return json.loads((folder / "record.json").read_text())


def _recorded(folder: Path) -> Any:
    result = run(
        *("check", "mlp", "--depths", "2,4", "--width", 8, "--seeds", 4, "--margin", 90),
        *("--baseline", folder / "depth.json", "--record"),
    )
    assert result.exit_code == 0, result.output
    return json.loads((folder / "depth.json").read_text())


@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{i}" for name, i in CASES])
def test_real_output_matches_its_schema(name: str, number: int, sweep_folder: Path, tmp_path: Path) -> None:
    content = OUTPUTS[name][number](sweep_folder, tmp_path)
    assert content
    check(name, content)


def test_changes_of_claims_match_their_schema() -> None:
    record = next(iter(baselines.read().values())).to_dict()
    check("baselines-diff", [{"id": record["id"], "before": record, "after": None}])


def test_every_schema_has_an_output_and_a_description() -> None:
    assert OUTPUTS.keys() == MODELS.keys() == ABOUT.keys()


def _faults(content: dict[str, Any]) -> list[tuple[str, Any]]:
    renamed = {("slopes" if name == "slope" else name): value for name, value in content.items()}
    row = deepcopy(content)
    row["curve"][0]["lr_star"] = "0.1"
    lost = deepcopy(content)
    del lost["curve"][0]["depth"]
    new = deepcopy(content)
    new["curve"][0]["unheard"] = 1
    return [("renamed", renamed), ("text for a number", row), ("lost", lost), ("not documented", new)]


def test_a_planted_fault_of_an_output_is_found() -> None:
    content = printed("exponent", "mlp", "--depths", "2,4", "--seeds", 2, "--width", 8)
    for fault, changed in _faults(content):
        with pytest.raises(jsonschema.ValidationError):
            check("exponent", changed)
        assert fault


def test_readers_accept_keys_of_later_versions() -> None:
    content = printed("depth", "mlp", "--depths", "2,4")
    jsonschema.validate(content | {"later": 1}, json_schema("depth"))


def test_the_command_lists_and_prints_schemas() -> None:
    listed = run("schema").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(MODELS)
    for name in MODELS:
        printed_schema = json.loads(run("schema", name).stdout)
        assert printed_schema == json.loads(json.dumps(json_schema(name)))
        assert printed_schema["$id"].endswith(f"/{name}.json")


def test_every_key_of_an_output_is_described() -> None:
    for name in (name for name in MODELS if ABOUT[name].startswith("output") and name not in ("claims",)):
        schema = json_schema(name)
        for model in [schema, *schema.get("$defs", {}).values()]:
            if model.get("title") in ("ClaimRecord", "Provenance", "Sample"):
                continue  # files; docs/reference/formats.md describes them
            for key, value in model.get("properties", {}).items():
                assert value.get("description"), f"{name}: {model['title']}.{key}"


def test_an_unknown_name_is_reported() -> None:
    assert_refused(run("schema", "exponents"), "unknown schema 'exponents'; nearest of 15: exponent")
