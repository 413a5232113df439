"""A script runs the checkout that it stands in, installed or not; what a checkout may lack is told in one line."""

import importlib.util
import pathlib
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
LINKS = {  # in rtc_bench/ -> what it points to
    "envs": "../envs",
    "policies": "../policies",
    "commands/configs": "../../configs",
    "analysis/published_figures": "../../results/published",
}

if importlib.util.find_spec("hydra") is None:
    remedy = "run `make setup` once, then `source .venv/bin/activate`, or use .venv/bin/python"
    print(f"error: {sys.executable} lacks what rtc_bench needs; {remedy}", file=sys.stderr)
    sys.exit(2)
lost = [link for link in LINKS if not (ROOT / "rtc_bench" / link).is_dir()]
if lost:
    mend = "; ".join(f"ln -sfn {LINKS[link]} rtc_bench/{link}" for link in lost)
    sys.exit(f"error: links in rtc_bench/ were lost in copying; mend them: {mend}")
sys.path.insert(0, str(ROOT))
from rtc_bench.commands.command_line import run  # noqa: E402, F401  (light: no JAX)

sys.path.remove(str(ROOT))  # what a user's strategy imports is not to be found among its folders or scripts
if pathlib.Path(sys.path[0]).resolve() == SCRIPTS:
    del sys.path[0]
