"""docs/ci.md: the workflow to copy is valid, its commands parse, and the outcomes are those of the gate."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import ammup
from ammup.cli import cli
from ammup.gate.decision import MOVED
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

PAGE = (Path(__file__).parents[1] / "docs" / "ci.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def _check_commands() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.splitlines()]
    (workflow,) = _blocks("yaml")
    lines += [step["run"] for step in yaml.safe_load(workflow)["jobs"]["depth"]["steps"] if "run" in step]
    return [shlex.split(line) for line in lines if line.startswith("ammup ")]


def test_the_workflow_is_valid_yaml_with_the_keys_of_github() -> None:
    (text,) = _blocks("yaml")
    workflow = yaml.safe_load(text)
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true; GitHub does not
    assert set(triggers) == {"push", "pull_request"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "if", "uses", "with", "run", "env"}
    assert any(step.get("if") == "always()" for step in job["steps"])  # reports of failed checks


def test_the_commands_parse_and_the_workflow_compares_with_the_recorded_baseline() -> None:
    recording, workflow = _check_commands()
    for command in (recording, workflow):
        verb = cli.commands[command[1]]
        context = verb.make_context(command[1], command[2:])
        assert context.params["baseline"] == Path("tests/make_net.json")
    assert recording[2:] == workflow[2 : len(recording)]


def test_the_python_example_uses_arguments_that_exist() -> None:
    (code,) = _blocks("python")
    call = re.search(r"depth_law\((.*?)\n    \)", code, flags=re.DOTALL)
    assert call is not None
    names = re.findall(r"(\w+)=", call.group(1))
    parameters = ammup.check_depth_exponent.__annotations__
    assert set(names) <= set(parameters)
    compile(code, "test_depth.py", "exec")


@pytest.mark.parametrize("outcome", [HOLDS, DOES_NOT_HOLD, MOVED, INCONCLUSIVE])
def test_every_outcome_has_a_row(outcome: str) -> None:
    assert re.search(rf"^\| {outcome} \| [01] \|", PAGE, flags=re.MULTILINE)
