"""Invalid input to the command line: exit code 2 and a one-line error that names the given value."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from ammup.cli import cli

# (command, beginning of its message); {w} is the folder with the files of conftest.py
COMMANDS = [
    # exponent
    ("exponent foo", "unknown family 'foo'; expected one of: mlp, cnn, resnet, torchvision:NAME, timm:NAME or"),
    ("exponent --depths a", "Invalid value for '--depths': 'a' is not a comma-separated list of integers"),
    ("exponent --depths 0,2", "depths=(0, 2): expected integers of at least 1"),
    ("exponent --depths 4", "depths=(4,) has 1 entries; give at least 2"),
    ("exponent --depths 4,4", "depths=[4, 4] contains a repeated depth; give each once"),
    ("exponent --depths ''", "Invalid value for '--depths': '' is not a comma-separated list of integers"),
    ("exponent --seeds 0", "Invalid value for '--seeds': 0 is not in the range x>=1."),
    ("exponent --width 0", "Invalid value for '--width': 0 is not in the range x>=1."),
    (
        "exponent --data nope",
        "unknown data source 'nope'; expected one of: synthetic, cifar10, cifar100, an existing folder or",
    ),
    ("exponent --image-size 0", "Invalid value for '--image-size': 0 is not in the range x>=1."),
    ("exponent --loss l1", "Invalid value for '--loss': 'l1' is not one of 'cross_entropy', 'mse'."),
    ("exponent --set foo", "Invalid value for '--set': 'foo' is not of the form NAME=VALUE"),
    ("exponent --set foo=1 --width 4", "cnn has no argument 'foo'; expected one of: activation,"),
    ("exponent --set padding=reflect --width 4", "unknown padding='reflect'; expected one of: circular, zero"),
    ("exponent --device tpu --width 4", "device 'tpu' cannot be used: Expected one of cpu, cuda, ipu, xpu, mkldnn,"),
    ("exponent --device cuda --width 4", "device 'cuda' cannot be used: Found no NVIDIA driver on your system. Please"),
    ("exponent --plot a.xyz --width 4", "unsupported suffix of 'a.xyz'; expected one of: ."),
    ("exponent --plot /nope/a.png --width 4", "/nope/a.png: folder /nope does not exist"),
    ("exponent nope.mod:f", "factory 'nope.mod:f' cannot be imported: ModuleNotFoundError: No module"),
    ("exponent os:nope", "factory 'os:nope' cannot be imported: AttributeError: module 'os' has no"),
    ("exponent fac:raises --depths 2,3", "the factory failed at depth 2: RuntimeError: boom"),
    ("exponent fac:none --depths 2,3", "the factory returned NoneType at depth 2; it must return an nn.Module"),
    ("exponent fac:ignores --depths 2,3", "the factory ignores its depth: depths 2 and 3 both gave 2 depth units"),
    ("exponent fac:nanw --depths 2,3", "S_l of unit 'layers.0' is not finite; check the weights and the inputs, or"),
    ("exponent fac:infwd --depths 2,3", "Raising cannot be run on inputs of shape (32, 3, 8, 8): inside"),
    ("exponent fac:twoargs --depths 2,3", "the factory failed at depth 2: TypeError: twoargs() missing 1 required"),
    ("exponent fac:exits --depths 2,3", "the factory failed at depth 2: SystemExit: 3"),
    ("exponent --batch-size 100000 --width 4", "batch size 100000: expected 1 to 9000"),
    ("exponent --foo", "No such option"),
    (
        "exponent mlp --set dims=2 --depths 2,3",
        "mlp has no argument 'dims'; expected one of: activation,",
    ),
    # models that the command line cannot use as they are
    (
        "exponent fac:dict_output --depths 2,3",
        "the model returned dict; loss='cross_entropy' needs a tensor (batch, outputs, …); give a factory whose model",
    ),
    ("transfer fac:tuple_output --lr 0.1 --from 2 --to 3", "the model returned tuple; loss='cross_entropy' needs a"),
    ("check fac:flat_output --depths 2,3 --expected -1", "the model returned (32,); loss='cross_entropy' needs a"),
    ("exponent fac:mapped --depths 2,3", "Mapped has no depth units in the convention 'paper'; give a factory"),
    ("depth fac:branching", "Branching could not be traced by torch.fx (TraceError"),
    (
        "sweep {w}/ok.toml --set model.factory=fac:branching --set model.arguments={} --set strategy=stacked "
        "--store {w}/new.db --workers 1",
        "the model cannot be trained in a stack (",
    ),
    # data
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/emptyfolder --image-size 8",
        "{w}/emptyfolder has no training images; expected",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/corrupt --image-size 8",
        "image {w}/corrupt/train/a/1.png cannot be read: cannot identify image file",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/textimg --image-size 8",
        "image {w}/textimg/train/a/x.png cannot be read: cannot identify image file",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/emptyclass --image-size 8",
        "{w}/emptyclass has no training images; expected",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/otherclass --image-size 8",
        "{w}/otherclass: classes ['c'] have no training images",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/trunc.npz",
        "{w}/trunc.npz is not an .npz file with keys train_images, train_labels, …:",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/text.npz",
        "{w}/text.npz is not an .npz file with keys train_images, train_labels, …:",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/keys.npz",
        "{w}/keys.npz is not an .npz file with keys train_images, train_labels, …:",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/pickle.npz",
        "{w}/pickle.npz is not an .npz file with keys train_images, train_labels, …:",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/shape.npz",
        "{w}/shape.npz: train images are float64 (8, 8); expected uint8 N×H×W,",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/dtype.npz",
        "{w}/dtype.npz: train images are float64 (8, 8, 8, 3); expected uint8 N×H×W,",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/len.npz",
        "{w}/len.npz: train labels are int64 (7,); expected one class index for each",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/flabel.npz",
        "{w}/flabel.npz: train labels are float64 (8,); expected one class index for",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/neglabel.npz",
        "{w}/neglabel.npz: train has the label -1; expected class indices from 0",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/emptyarr.npz",
        "{w}/emptyarr.npz: train has no images",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/nope.npz",
        "unknown data source '{w}/nope.npz'; expected one of: synthetic,",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/nope --image-size 8",
        "unknown data source '{w}/nope'; expected one of: synthetic,",
    ),
    (
        "exponent cnn --width 4 --seeds 2 --depths 2,3 --data {w}/sizes",
        "{w}/sizes/train/a/9.png and the first image differ in size, 16×16 and 8×8;",
    ),
    # toml
    (
        "sweep {w}/syntax.toml --store {w}/new.db --workers 1",
        "{w}/syntax.toml: invalid TOML: Invalid value (at end of document)",
    ),
    ("sweep {w}/noname.toml --store {w}/new.db --workers 1", "{w}/noname.toml: name: is missing"),
    (
        "sweep {w}/emptyname.toml --store {w}/new.db --workers 1",
        "{w}/emptyname.toml: name is empty; give the experiment a name",
    ),
    (
        "sweep {w}/nomodel.toml --store {w}/new.db --workers 1",
        "{w}/nomodel.toml: model: is missing; modell: unknown setting",
    ),
    ("sweep {w}/extra.toml --store {w}/new.db --workers 1", "{w}/extra.toml: foo: unknown setting"),
    (
        "sweep {w}/depth0.toml --store {w}/new.db --workers 1",
        "{w}/depth0.toml: grid: depths=(0, 3): expected integers of at least 1",
    ),
    (
        "sweep {w}/depthdup.toml --store {w}/new.db --workers 1",
        "{w}/depthdup.toml: grid: depths=[2, 2] contains a repeated depth; give each once",
    ),
    (
        "sweep {w}/depthempty.toml --store {w}/new.db --workers 1",
        "{w}/depthempty.toml: grid: depths=() has 0 entries; give at least 1",
    ),
    (
        "sweep {w}/depthstr.toml --store {w}/new.db --workers 1",
        "{w}/depthstr.toml: grid.depths.0: Input should be a valid integer ('a' was",
    ),
    (
        "sweep {w}/depthfloat.toml --store {w}/new.db --workers 1",
        "{w}/depthfloat.toml: grid.depths.0: Input should be a valid integer (2.5",
    ),
    (
        "sweep {w}/lrneg.toml --store {w}/new.db --workers 1",
        "{w}/lrneg.toml: grid: lrs=[-1.0] must be one or more distinct learning",
    ),
    (
        "sweep {w}/lrdup.toml --store {w}/new.db --workers 1",
        "{w}/lrdup.toml: grid: lrs=[1.0, 1.0] must be one or more distinct learning",
    ),
    (
        "sweep {w}/lrempty.toml --store {w}/new.db --workers 1",
        "{w}/lrempty.toml: grid: lrs=[] must be one or more distinct learning rates,",
    ),
    (
        "sweep {w}/lrnan.toml --store {w}/new.db --workers 1",
        "{w}/lrnan.toml: grid: lrs=[nan] must be one or more distinct learning",
    ),
    (
        "sweep {w}/lrinf.toml --store {w}/new.db --workers 1",
        "{w}/lrinf.toml: grid: lrs=[inf] must be one or more distinct learning",
    ),
    (
        "sweep {w}/lrspace.toml --store {w}/new.db --workers 1",
        "{w}/lrspace.toml: grid.lrs: lrs low=1.0, high=0.1, points=40: expected",
    ),
    (
        "sweep {w}/lrpoints.toml --store {w}/new.db --workers 1",
        "{w}/lrpoints.toml: grid.lrs: lrs low=0.0001, high=10.0, points=0: expected",
    ),
    (
        "sweep {w}/seeds0.toml --store {w}/new.db --workers 1",
        "{w}/seeds0.toml: grid: seeds=[] must be one or more distinct seeds",
    ),
    (
        "sweep {w}/seedsneg.toml --store {w}/new.db --workers 1",
        "{w}/seedsneg.toml: grid: seeds=[] must be one or more distinct seeds",
    ),
    (
        "sweep {w}/seedsdup.toml --store {w}/new.db --workers 1",
        "{w}/seedsdup.toml: grid: seeds=[1, 1] must be one or more distinct seeds",
    ),
    (
        "sweep {w}/factory.toml --store {w}/new.db --workers 1",
        "unknown family 'cnnn'; expected one of: mlp, cnn, resnet, torchvision:NAME, timm:NAME or",
    ),
    (
        "sweep {w}/factmod.toml --store {w}/new.db --workers 1",
        "factory 'nope.mod:f' cannot be imported: ModuleNotFoundError: No module",
    ),
    (
        "sweep {w}/factattr.toml --store {w}/new.db --workers 1",
        "factory 'os:nope' cannot be imported: AttributeError: module 'os' has no",
    ),
    ("sweep {w}/factnotcall.toml --store {w}/new.db --workers 1", "factory 'os:sep' is a str; it must be callable"),
    (
        "sweep {w}/factwrong.toml --store {w}/new.db --workers 1",
        "the factory failed at depth 3: TypeError: posix.getcwd() takes no keyword",
    ),
    (
        "sweep {w}/args.toml --store {w}/new.db --workers 1",
        "the factory failed at depth 3: TypeError:",
    ),
    ("sweep {w}/argval.toml --store {w}/new.db --workers 1", "width=0: expected an integer of at least 1"),
    (
        "sweep {w}/source.toml --store {w}/new.db --workers 1",
        "unknown data source '/nope'; expected one of: synthetic,",
    ),
    ("sweep {w}/size.toml --store {w}/new.db --workers 1", "image_size=0 must be at least 1"),
    ("sweep {w}/trainbig.toml --store {w}/new.db --workers 1", "train=10000000: expected 1 to 9968"),
    ("sweep {w}/train0.toml --store {w}/new.db --workers 1", "train=0: expected 1 to 9968"),
    (
        "sweep {w}/val0.toml --store {w}/new.db --workers 1",
        "the data have no validation images, which are needed",
    ),
    ("sweep {w}/bs.toml --store {w}/new.db --workers 1", "{w}/bs.toml: training: batch_size=0 must be at least 1"),
    (
        "sweep {w}/dtype.toml --store {w}/new.db --workers 1",
        "{w}/dtype.toml: training: unknown dtype='half'; expected one of: float32,",
    ),
    (
        "sweep {w}/mom.toml --store {w}/new.db --workers 1",
        "{w}/mom.toml: training: momentum=-1.0 must be finite and at least 0",
    ),
    (
        "sweep {w}/strategy.toml --store {w}/new.db --workers 1",
        "{w}/strategy.toml: unknown strategy='loops'; expected one of: auto, loop,",
    ),
    (
        "sweep {w}/search.toml --store {w}/new.db --workers 1",
        "{w}/search.toml: unknown search='fast'; expected one of: full, adaptive",
    ),
    (
        "sweep {w}/seg.toml --store {w}/new.db --workers 1",
        "{w}/seg.toml: segments.0: depths=(2,) has 1 entries; give at least 2",
    ),
    (
        "sweep {w}/segdup.toml --store {w}/new.db --workers 1",
        "{w}/segdup.toml: segments.0: depths=[2, 2] contains a repeated depth; give each",
    ),
    (
        "sweep {w}/short.toml --store {w}/new.db --workers 1",
        "{w}/short.toml: short_run: short_run.steps=[]: expected distinct step numbers",
    ),
    (
        "sweep {w}/shortneg.toml --store {w}/new.db --workers 1",
        "{w}/shortneg.toml: short_run: lrs=[-1.0] must be one or more distinct",
    ),
    (
        "sweep {w}/shortlate.toml --store {w}/new.db --workers 1",
        "steps=[1000] of a short run must be from 0 to 1, the last training step",
    ),
    (
        "sweep {w}/variants.toml --store {w}/new.db --workers 1",
        "{w}/variants.toml: variants: expected tables such as [variants.small]",
    ),
    (
        "sweep {w}/variantempty.toml --store {w}/new.db --workers 1",
        "{w}/variantempty.toml: foo: unknown setting",
    ),
    (
        "sweep {w}/profiles.toml --store {w}/new.db --workers 1",
        "{w}/profiles.toml: profiles: expected tables such as [profiles.small]",
    ),
    (
        "sweep {w}/bytes.toml --store {w}/new.db --workers 1",
        "{w}/bytes.toml: 'utf-8' codec can't decode byte 0xc8 in position 0: invalid",
    ),
    (
        "sweep {w}/pslope.toml --store {w}/new.db --workers 1",
        "{w}/pslope.toml: paper_slope: Input should be a valid number ('x' was given)",
    ),
    (
        "sweep {w}/dir.toml --store {w}/new.db --workers 1",
        "Invalid value for '[EXPERIMENT.toml|NAME]': File '{w}/dir.toml' is a",
    ),
    (
        "sweep {w}/absent.toml --store {w}/new.db --workers 1",
        "{w}/absent.toml: [Errno 2] No such file or directory: '{w}/absent.toml'",
    ),
    # sweep
    ("sweep {w}/ok.toml", "Missing option '--store'."),
    (
        "sweep {w}/ok.toml --store {w}/text.db",
        "{w}/text.db is damaged or not a store of ammup (file is not a database); it",
    ),
    ("sweep {w}/ok.toml --store {w}/other.db", "{w}/other.db is not a store of ammup; it is unchanged"),
    ("sweep {w}/ok.toml --store {w}/dir.db", "Invalid value for '--store': File '{w}/dir.db' is a directory."),
    (
        "sweep {w}/ok.toml --store {w}/trunc.db --workers 1",
        "{w}/trunc.db is damaged or not a store of ammup (database disk image is",
    ),
    ("sweep {w}/ok.toml --store /nope/a.db", "/nope/a.db: the folder /nope does not exist"),
    (
        "sweep {w}/ok.toml --store {w}/ok.db --set x",
        "{w}/ok.toml: 'x': expected the form TABLE.NAME=VALUE, such as grid.seeds=3",
    ),
    (
        "sweep {w}/ok.toml --store {w}/ok.db --set grid.depths=3,a",
        "{w}/ok.toml: grid.depths: Input should be a valid array ('3,a' was given)",
    ),
    ("sweep {w}/ok.toml --store {w}/ok.db --workers 0", "Invalid value for '--workers': 0 is not in the range x>=1."),
    (
        "sweep cnn-relu-cifar10 --store {w}/ok.db --profile x",
        "cnn-relu-cifar10: unknown profile 'x'; expected one of: small",
    ),
    (
        "sweep cnn-relu-cifar10 --store {w}/ok.db --variant x",
        "cnn-relu-cifar10: unknown variant 'x'; the file has no variants",
    ),
    (
        "sweep {w}/ok.toml --store {w}/ok.db --status --dry-run",
        "--status, --dry-run and --merge are mutually exclusive",
    ),
    ("sweep --store {w}/ok.db --merge {w}/ok.db", "--merge {w}/ok.db and --store are the same file"),
    (
        "sweep --store {w}/ok.db --merge {w}/text.db",
        "{w}/text.db is damaged or not a store of ammup (file is not a database); it",
    ),
    ("sweep --store {w}/ok.db --merge {w}/nope.db", "{w}/nope.db does not exist; `ammup sweep EXPERIMENT.toml --store"),
    (
        "sweep {w}/ok.toml --store {w}/s.db --scheduler tcp://127.0.0.1:1",
        "no Dask scheduler answers at tcp://127.0.0.1:1: Timed out trying to connect",
    ),
    (
        "sweep {w}/ok.toml --store {w}/s.db --scheduler foo",
        "no Dask scheduler answers at foo: missing port number in address 'foo'",
    ),
    (
        "sweep {w}/ok.toml --store {w}/s2.db --device cuda --workers 1",
        "device 'cuda' cannot be used: Found no NVIDIA driver on your system. Please",
    ),
    (
        "sweep cnn-relu-cifar --store {w}/ok.db",
        "unknown experiment 'cnn-relu-cifar'; nearest of 15: cnn-relu-cifar10,",
    ),
    ("sweep --store {w}/ok.db", "no experiment was given; give a file or a name"),
    ("sweep --store {w}/absent.db --status", "{w}/absent.db does not exist; `ammup sweep EXPERIMENT.toml --store"),
    # fit
    ("fit {w}/absent.db", "{w}/absent.db does not exist; `ammup sweep EXPERIMENT.toml --store"),
    ("fit {w}/text.db", "{w}/text.db is damaged or not a store of ammup (file is not a database); it"),
    ("fit {w}/empty.db", "{w}/empty.db is not a store of ammup; it is unchanged"),
    ("fit {w}/other.db", "{w}/other.db is not a store of ammup; it is unchanged"),
    ("fit {w}/dir.db", "Invalid value for 'RUNS.db|RECORD.json': File '{w}/dir.db' is a directory."),
    ("fit {w}/trunc.db", "{w}/trunc.db is damaged or not a store of ammup (database disk image is"),
    ("fit {w}/trunc.json", "{w}/trunc.json cannot be read: Unterminated string starting at: line 3"),
    ("fit {w}/list.json", "{w}/list.json is not a record of a sweep (format 'ammup sweep 1'); `ammup fit"),
    ("fit {w}/nul.json", "{w}/nul.json is not a record of a sweep (format 'ammup sweep 1'); `ammup fit"),
    ("fit {w}/bin.json", "{w}/bin.json cannot be read: 'utf-8' codec can't decode byte 0x80 in"),
    ("fit {w}/nofmt.json", "{w}/nofmt.json is not a record of a sweep (format 'ammup sweep 1'); `ammup fit"),
    ("fit {w}/noruns.json", "{w}/noruns.json is a damaged record of a sweep: runs: is missing"),
    ("fit {w}/short.json", "{w}/short.json is a damaged record of a sweep: runs: columns must have the same length"),
    ("fit {w}/strlr.json", "{w}/strlr.json is a damaged record of a sweep: runs.lr.0: "),
    ("fit {w}/badexp.json", "{w}/badexp.json is a damaged record of a sweep: experiment: grid.depths: is"),
    ("fit {w}/neg.json", "the runs contain learning rates that are not positive and finite"),
    ("fit {w}/laws.json", "{w}/laws.json is a damaged record of a sweep: laws: "),
    ("fit {w}/emptyruns.json", "there are no runs to fit"),
    ("fit {w}/divstr.json", "{w}/divstr.json is a damaged record of a sweep: runs.diverged.0: "),
    ("fit {w}/prov.json", "{w}/prov.json is a damaged record of a sweep: provenance: "),
    ("fit {w}/deep.json", "{w}/deep.json is a damaged record of a sweep: measurements.depth: is missing"),
    ("fit {w}/nest.json", "{w}/nest.json cannot be read: nested too deeply"),
    ("fit {w}/lawneg.json", "{w}/lawneg.json is a damaged record of a sweep: laws."),
    # report
    (
        "report {w}/absent.db -o {w}/r-absent.db.html",
        "{w}/absent.db does not exist; `ammup sweep EXPERIMENT.toml --store",
    ),
    (
        "report {w}/text.db -o {w}/r-text.db.html",
        "{w}/text.db is damaged or not a store of ammup (file is not a database); it",
    ),
    ("report {w}/empty.db -o {w}/r-empty.db.html", "{w}/empty.db is not a store of ammup; it is unchanged"),
    (
        "report {w}/list.json -o {w}/r-list.json.html",
        "{w}/list.json is not a record of a sweep (format 'ammup sweep 1'); `ammup fit",
    ),
    ("report {w}/neg.json -o {w}/r-neg.json.html", "the runs contain learning rates that are not positive and finite"),
    (
        "report {w}/lawneg.json -o {w}/r-lawneg.json.html",
        "{w}/lawneg.json is a damaged record of a sweep: laws.",
    ),
    # fit
    ("fit {w}/ok.db --experiment x", "unknown experiment 'x'; nearest of 1: none; {w}/ok.db contains t"),
    ("fit {w}/ok.db --transfer --base 99", "base=99 is not a depth of the runs; choose one of [2, 3]"),
    ("fit {w}/ok.db --optimum x", "Invalid value for '--optimum': 'x' is not one of 'smoothed', 'argmax', 'edge'."),
    (
        "fit {w}/ok.db --optimum edge --transfer",
        "--transfer carries the best learning rate, not the edge; use --optimum",
    ),
    ("fit {w}/ok.db --optimum edge --chance nan", "chance=nan: expected the accuracy of a random guess, such as 0.1"),
    ("fit {w}/ok.db --plot {w}/ok.json", "unsupported suffix of 'ok.json'; expected one of: ."),
    ("fit {w}/ok.db --export a.xls", "unsupported suffix of 'a.xls'; expected one of: .csv, .parquet, .json"),
    ("fit {w}/ok.db --export {w}/ok.json", "{w}/ok.json already exists; choose another name or"),
    ("fit {w}/ok.db --against x", "--figure and --against select what --plot draws; add --plot FILE"),
    (
        "fit {w}/ok.db --figure overlay --against x --plot {w}/o.png",
        "unknown experiment 'x'; nearest of 1: none; {w}/ok.db contains t",
    ),
    ("fit {w}/ok.db --figure x", "Invalid value for '--figure': 'x' is not one of 'sweep', 'panel',"),
    # report
    ("report {w}/ok.db -o /nope/a.html", "/nope/a.html: folder /nope does not exist"),
    ("report {w}/ok.db -o {w}/a.txt", "unsupported suffix of 'a.txt'; expected one of: .html"),
    ("report {w}/ok.db -o {w}/ok.json", "unsupported suffix of 'ok.json'; expected one of: .html"),
    # transfer
    ("transfer", "Missing option '--lr'."),
    (
        "transfer --lr 0 --from 2 --to 4 --width 4",
        "lr=0.0 must be positive and finite; give the learning rate that was tuned at",
    ),
    (
        "transfer --lr -1 --from 2 --to 4 --width 4",
        "lr=-1.0 must be positive and finite; give the learning rate that was tuned at",
    ),
    (
        "transfer --lr nan --from 2 --to 4 --width 4",
        "lr=nan must be positive and finite; give the learning rate that was tuned at",
    ),
    ("transfer --lr a --from 2 --to 4", "Invalid value for '--lr': 'a' is not a valid float."),
    ("transfer --lr 1 --from 0 --to 4", "Invalid value for '--from': 0 is not in the range x>=1."),
    (
        "transfer --lr 1 --from 4 --to 4 --width 4",
        "--from 4 and --to 4 are equal: the learning rate does not change",
    ),
    # check
    (
        "check cnn --width 4 --depths 2,3 --seeds 2",
        "pass --expected SLOPE, or --baseline FILE to record the slope",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --expected a",
        "Invalid value for '--expected': 'a' is not a valid float.",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --expected nan",
        "expected=nan must be finite: the slope, with its sign, such as -1.5",
    ),
    ("check cnn --width 4 --depths 2,3 --seeds 2 --expected -1 --margin 0", "margin=0.0 must be positive and finite"),
    ("check cnn --width 4 --depths 2,3 --seeds 2 --expected -1 --margin -1", "margin=-1.0 must be positive and finite"),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --expected -1 --level 2",
        "level=2.0: expected a confidence level between 0 and 1, such as",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --expected -1 --junit /nope/a.xml",
        "/nope/a.xml: folder /nope does not exist",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --baseline /nope/a.json",
        "/nope/a.json: folder /nope does not exist",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --baseline {w}/text.db",
        "{w}/text.db is not a baseline of `ammup check` (JSONDecodeError: Expecting",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --baseline {w}/list.json",
        "{w}/list.json is not a baseline of `ammup check`: must be an object",
    ),
    (
        "check cnn --width 4 --depths 2,3 --seeds 2 --expected -1 --seeds 1",
        "Invalid value for '--seeds': 1 is not in the range x>=2.",
    ),
    # depth
    ("depth", "Missing argument 'FAMILY|PACKAGE.MODULE:FACTORY'."),
    ("depth x", "unknown family 'x'; expected one of: mlp, cnn, resnet, torchvision:NAME, timm:NAME or"),
    ("depth cnn --convention x", "unknown convention='x'; expected one of: paper, blocks, layers, relu, shortest,"),
    ("depth cnn --shape a", "Invalid value for '--shape': 'a' is not a shape such as 3,32,32"),
    ("depth cnn --shape 0,0", "CNN cannot be run on inputs of shape (2, 0, 0): Padding value causes"),
    ("depth cnn --shape 5,8,8", "CNN cannot be run on inputs of shape (2, 5, 8, 8): Given groups=1, weight"),
    ("depth fac:raises", "the factory failed at depth 4: RuntimeError: boom"),
    ("depth fac:infwd --shape 3,8,8", "Raising cannot be run on inputs of shape (2, 3, 8, 8): inside"),
    # claims
    ("claims --id x", "unknown claim 'x'; nearest of 111: none; `ammup claims` lists them"),
    ("claims --seed-root -1", "Invalid value for '--seed-root': -1 is not in the range x>=0."),
    ("claims --measure nope", "Got unexpected extra argument (nope)"),
    # base
    ("baselines foo", "No such command 'foo'."),
    ("baselines update", "Missing option '--reason'."),
    ("baselines diff nope1 nope2", "'nope1' is not a commit of "),
    # verb
    ("foo", "No such command 'foo'."),
    # opt
    ("--foo", "No such option"),
]


# Advice that only helps in Python: an argument without a value such as targets=, a lambda, or a name of the package.
PYTHON = re.compile(r"\b[a-z_]+=(?![\w'\"(\[{.-])|lambda|example_input|from_depth|to_depth|\bammup\.\w")


@pytest.mark.parametrize(("command", "begins"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_an_invalid_command_is_a_one_line_error(
    command: str, begins: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ammup.experiments.cluster.CONNECT_SECONDS", 0.5)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, shlex.split(command.replace("{w}", str(folder))))
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].removeprefix("Error: ").startswith(begins.replace("{w}", str(folder)))
    assert not PYTHON.search(errors[0]), "advice for Python users is of no use on the command line"


def test_no_file_was_created_or_changed(folder: Path) -> None:
    assert not (folder / "new.db").exists() or (folder / "new.db").stat().st_size > 0
    assert (folder / "text.db").read_text() == "hello" * 100


def test_there_are_at_least_150_commands() -> None:
    assert len(COMMANDS) >= 150
