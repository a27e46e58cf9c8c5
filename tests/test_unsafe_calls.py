"""No call by which data becomes code, a shell reads what somebody else wrote, or a check is
switched off. Read by ast, in all that is shipped; the rules themselves are tested on what they must
find. (Imports of pickle and its like, and torch.load: test_tree.py.)"""

from __future__ import annotations

import ast

import pytest

from tests.test_tree import PACKAGES, ROOT

EXTRA = (ROOT / "worker" / "training", ROOT / "media")  # not shipped, and run by hand: the same
RUNS_CODE = ("eval", "exec", "compile", "builtins.eval", "builtins.exec", "os.system", "os.popen",
             "yaml.load", "yaml.unsafe_load", "yaml.full_load", "importlib.reload",
             "torch.hub.load", "runpy.run_path", "tempfile.mktemp", "subprocess.getstatusoutput",
             "ssl._create_unverified_context", "subprocess.getoutput")  # fmt: skip
# keyword -> the only value that it may have where it is given
KEYWORDS = {"shell": "False", "allow_pickle": "False", "weights_only": "True", "verify": "True",
            "trust_remote_code": "False", "check_hostname": "True"}  # fmt: skip
MUST_SAY = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False"),
            "numpy.load": ("allow_pickle", "False")}  # fmt: skip


def complaints(tree: ast.Module) -> list[str]:
    """`line: what` for each call that the rules forbid."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {key.arg: ast.unparse(key.value) for key in node.keywords if key.arg}
        if name in RUNS_CODE:
            found.append(f"{node.lineno}: {name}")
        for keyword, wanted in KEYWORDS.items():
            if given.get(keyword, wanted) != wanted:
                found.append(f"{node.lineno}: {name} with {keyword}={given[keyword]}")
        if name in MUST_SAY:
            keyword, wanted = MUST_SAY[name]
            if given.get(keyword) != wanted:
                found.append(f"{node.lineno}: {name} without {keyword}={wanted}")
    return found


def test_nothing_runs_what_it_reads() -> None:
    folders = [ROOT / folder for folder, _ in PACKAGES.values()]
    files = [path for folder in (*folders, *EXTRA) for path in sorted(folder.rglob("*.py"))]
    assert len(files) > 150, "the product is looked at, all of it"
    broken = [
        f"{path.relative_to(ROOT)}:{what}"
        for path in files
        for what in complaints(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "line",
    ["eval(text)", "exec(code)", "os.system('ls')", "yaml.load(file)", "torch.load(path)",
     "torch.load(path, weights_only=False)", "np.load(path)", "np.load(path, allow_pickle=True)",
     "subprocess.run(command, shell=True)", "subprocess.Popen(c, shell=wanted)",
     "AutoModel.from_pretrained(name, trust_remote_code=True)", "get(url, verify=False)",
     "tempfile.mktemp()", "x = [exec(a) for a in b]"],
)  # fmt: skip
def test_the_rules_find_what_they_forbid(line: str) -> None:
    assert complaints(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    ["model.eval()", "re.compile(x)", "torch.compile(model)", "torch.load(p, weights_only=True)",
     "subprocess.run([a, b])", "subprocess.run([a], shell=False)", "connection.exec(x)",
     "self.load(path)"],
)  # fmt: skip
def test_the_rules_leave_the_rest_alone(line: str) -> None:
    assert not complaints(ast.parse(line))


def test_no_file_of_weights_in_the_tree_can_hold_code() -> None:
    weights = [
        path.relative_to(ROOT)
        for folder, _ in PACKAGES.values()
        for kind in ("*.pt", "*.pth", "*.pkl", "*.ckpt", "*.npy", "*.npz", "*.bin", "*.joblib")
        for path in (ROOT / folder).rglob(kind)
    ]
    assert not weights
    assert list((ROOT / "worker").rglob("*.safetensors")), "the embedded model is one"
