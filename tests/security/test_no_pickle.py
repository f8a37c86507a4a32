"""Nothing in procray turns data into code: no pickle, no unsafe YAML, no eval, no shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import procray

ROOT = Path(procray.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# Modules that decode what can run code, or hand a text to a shell.
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# `pickle` stands in pickles.py for the name of an error only: torch raises it when it refuses a file.
ONLY_NAMES = {("model/pickles.py", "pickle"): {"UnpicklingError"}}
# torch.distributed sends objects as pickles.
OBJECT_COLLECTIVES = ("broadcast_object_list", "gather_object", "all_gather_object", "scatter_object_list",
                      "send_object_list", "recv_object_list")  # fmt: skip
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all", "torch.jit.load",
    "torch.package.PackageImporter", "pandas.read_pickle", "numpy.lib.format.read_array",
    "tune.Tuner.restore", "Tuner.restore", "mlflow.pyfunc.load_model", "tempfile.mktemp",
}  # fmt: skip
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "BaseLoader"}
MODULE_ALIASES = {"np": "numpy", "pd": "pandas"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return MODULE_ALIASES.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def given(call: ast.Call, name: str) -> object:
    """The literal that a call gives to a keyword; `...` where it is computed; None where it is silent."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
    return None


def complaints(source: str, place: str) -> list[str]:
    """What in a module decodes or runs what it should not, with the line."""
    tree = ast.parse(source)
    found = []

    def complain(node: ast.AST, message: str) -> None:
        found.append(f"{place}:{getattr(node, 'lineno', 0)}: {message}")

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                if root in FORBIDDEN_IMPORTS and (place, root) not in ONLY_NAMES:
                    complain(node, f"imports {alias.name}")
        elif isinstance(node, ast.ImportFrom) and node.module:
            root = node.module.split(".")[0]
            if root in FORBIDDEN_IMPORTS:
                complain(node, f"imports from {node.module}")
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in FORBIDDEN_CALLS or whole in ("torch.load", "numpy.load"):
                    complain(node, f"imports {whole} under a short name, which hides its calls")
        elif isinstance(node, ast.Attribute):
            allowed = ONLY_NAMES.get((place, dotted(node.value)))
            if allowed is not None and node.attr not in allowed:
                complain(node, f"uses {dotted(node)}")
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = dotted(base)
                if name.startswith("yaml.") and "Loader" in name and name.split(".")[1] not in SAFE_LOADERS:
                    complain(node, f"derives from {name}")
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if isinstance(node.func, ast.Name) and name in FORBIDDEN_NAMES:
                complain(node, f"calls {name}")
            if name in FORBIDDEN_CALLS:
                complain(node, f"calls {name}")
            if name.endswith(OBJECT_COLLECTIVES):
                complain(node, f"calls {name}, which sends a pickle")
            if name == "torch.load" and given(node, "weights_only") is not True:
                complain(node, "torch.load without weights_only=True")
            if given(node, "allow_pickle") not in (None, False):
                complain(node, f"{name} with allow_pickle")
            if given(node, "shell") not in (None, False):
                complain(node, f"{name} through a shell")
            if given(node, "trust_remote_code") not in (None, False):
                complain(node, f"{name} with trust_remote_code")
    return found


def test_no_module_turns_data_into_code():
    assert len(MODULES) > 100
    found = [
        line
        for module in MODULES
        for line in complaints(module.read_text(encoding="utf-8"), module.relative_to(ROOT).as_posix())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import torch; torch.load(path, weights_only=flag)",
        "from torch import load as l; from torch import load",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
        "import yaml\nclass L(yaml.UnsafeLoader): pass",
        "eval(text)",
        "exec(text)",
        "import subprocess; subprocess.run(text, shell=True)",
        "import os; os.system(text)",
        "from os import system",
        "load_dataset(name, trust_remote_code=True)",
        "tune.Tuner.restore(path)",
        "distributed.broadcast_object_list(box, src=0)",
    ],
)
def test_the_guard_sees(line):
    assert complaints(line, "somewhere.py")


def test_the_guard_lets_the_safe_forms_pass():
    text = "torch.load(p, weights_only=True); np.load(p); np.load(p, allow_pickle=False); model.eval(); re.compile(x)"
    assert complaints(text, "somewhere.py") == []


def test_pickle_stands_for_the_name_of_an_error_only():
    assert complaints("import pickle\npickle.UnpicklingError", "model/pickles.py") == []
    assert complaints("import pickle\npickle.load(f)", "model/pickles.py")
