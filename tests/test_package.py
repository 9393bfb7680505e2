"""What holds for the package as a whole."""

import json
import subprocess
import sys

import pytest

import ammup


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


OTHER_PACKAGES = (
    "lightning", "pytorch_lightning", "transformers", "accelerate", "ignite", "tensorboard", "mlflow", "datasets",
    "timm", "optuna",
)  # fmt: skip


def test_no_other_package_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, ammup, ammup.cli, ammup.integrations.loggers, ammup.models.published, ammup.data.objects;"
        "import ammup.integrations.optuna;"
        "import ammup.training.optimization, ammup.training.augmentation, ammup.experiments.sweep;"
        f"print([m for m in {OTHER_PACKAGES} if m in sys.modules])"
    )
    assert _python(code).strip() == "[]"
    assert _python("import sys, ammup; print('ammup.integrations' in sys.modules)").strip() == "False"


def test_importing_does_not_import_torch() -> None:
    loaded = _python(
        "import ammup, sys; print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_workers_and_claims_start_without_scipy_stats() -> None:
    """It takes half a second, in every worker of a sweep and in every command that fits a law."""
    modules = "ammup.experiments.block, ammup.claims.claim, ammup.gate.likely_cause, ammup.stats.optimum"
    loaded = _python(
        f"import sys, {modules}; print([m for m in ('scipy.stats', 'scipy.optimize') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from ammup.cli import cli;"
        "assert CliRunner().invoke(cli, ['exponent', '--help']).exit_code == 0;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    assert _python(code).strip() == "[]"


HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "pydantic")


@pytest.mark.parametrize(
    "command",
    [
        "exponent nosuch",
        "exponent no_package.models:make_net",
        "exponent cnn --data nosuch",
        "check nosuch --expected -1.5",
        "check cnn",
        "depth nosuch",
        "transfer cnn --lr -1 --from 2 --to 4",
        "transfer cnn --lr 0.1 --from 4 --to 4",
        "fit none.db",
        "fit none.json",
        "report none.db -o page.html",
        "sweep none.toml --store runs.db",
        "sweep none --store runs.db",
    ],
)
def test_a_wrong_name_is_reported_before_anything_heavy_is_imported(command: str) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from ammup.cli import cli;"
        f"result = CliRunner().invoke(cli, {command.split()!r});"
        f"print(result.exit_code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert _python(code).strip() == "2 []"


INVALID = (
    ("exponent cnn --set wrong=1", "cnn has no argument 'wrong'; expected one of: activation,"),
    ("exponent mlp --set kernel=3", "mlp has no argument 'kernel'"),
    ("exponent cnn --set kernel=abc", "kernel='abc' must be a positive int"),
    ("exponent cnn --set groups=3", "groups=3 must divide the channels, 128 and 128"),
    ("exponent resnet --set dropout=abc", "the factory failed at depth 2: TypeError"),
    ("exponent cnn --depths 4", "depths=(4,) has 1 entries; give at least 2"),
    ("exponent cnn --data empty", "empty has no training images"),
    ("exponent cnn --data text.npz", "text.npz is not an .npz file with keys train_images"),
    ("check cnn --expected -1.5 --set wrong=1", "cnn has no argument 'wrong'"),
    ("transfer cnn --lr 0.1 --from 2 --to 4 --set wrong=1", "cnn has no argument 'wrong'"),
    ("transfer cnn --lr 0.1 --from 2 --to 4 --edges text.db", "text.db is damaged or not a store of ammup"),
    ("fit text.db", "text.db is damaged or not a store of ammup"),
    ("fit text.json", "text.json cannot be read"),
    ("report text.db -o page.html", "text.db is damaged or not a store of ammup"),
    ("sweep empty.toml --store runs.db", "empty.toml: grid: depths=() has 0 entries"),
    ("sweep cnn-relu-cifar10 --store runs.db --set wrong=1", "cnn-relu-cifar10: wrong: unknown setting"),
    ("sweep cnn-relu-cifar10 --store text.db", "text.db is damaged or not a store of ammup"),
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], str]]:
    """(Modules that are imported, output) after each of these commands, in one process."""
    folder = tmp_path_factory.mktemp("invalid")
    for name in ("text.db", "text.json", "text.npz"):
        (folder / name).write_text('{"a":')
    (folder / "empty").mkdir()
    (folder / "empty.toml").write_text(
        'name = "t"\nmodel = {factory = "cnn"}\ndata = {source = "synthetic"}\ngrid = {depths = [], lrs = [0.1]}\n'
    )
    code = (
        "import json, sys; from click.testing import CliRunner; from ammup.cli import cli;"
        f"runs = [(CliRunner().invoke(cli, command.split()), [*sys.modules]) for command in {[*dict(INVALID)]!r}];"
        "print(json.dumps([(result.output, modules) for result, modules in runs]))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    heavy = {"torch", "pandas", "scipy", "matplotlib"}
    return [(sorted(heavy & set(modules)), output) for output, modules in json.loads(run.stdout)]


@pytest.mark.parametrize("case", range(len(INVALID)), ids=[*dict(INVALID)])
def test_invalid_input_is_reported_before_torch_pandas_and_scipy_are_imported(
    case: int, outputs: list[tuple[list[str], str]]
) -> None:
    modules, output = outputs[case]
    assert modules == []
    assert INVALID[case][1] in output


@pytest.mark.parametrize("name", [n for n in ammup.__all__ if n != "__version__"])
def test_every_public_name_resolves_and_has_a_docstring(name: str) -> None:
    assert getattr(ammup, name).__doc__


def test_an_unknown_name_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'mpl'.*depth_exponent"):
        ammup.mpl  # noqa: B018


def test_lazy_names_are_those_shown_to_type_checkers() -> None:
    import ast
    from pathlib import Path

    tree = ast.parse(Path(ammup.__file__).read_text())
    typed = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ammup")
        for alias in node.names
    }
    assert typed == ammup._HOME
