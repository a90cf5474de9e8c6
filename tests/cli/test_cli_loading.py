"""What a prediction does not need is not imported for it, and its answers are the same."""

from __future__ import annotations

import json
import subprocess
import sys

from clitools import done

UNUSED = {"sklearn", "scipy", "pandas", "datasets", "matplotlib", "peft", "optuna", "openpyxl"}


def test_predicting_loads_no_library_that_it_does_not_use(trained, environment):
    probe = (
        "import gc, sys; from trunkline.cli import app\n"
        f"try: app(['predict', {str(trained)!r}, '--text', 'a sad film in paris', '--json'], prog_name='trunkline')\n"
        "except SystemExit: pass\n"
        "from transformers.utils import is_scipy_available\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), gc.isenabled(), is_scipy_available(), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=environment)
    *loaded, collects, scipy = run.stderr.split()
    assert {"torch", "transformers"} <= set(loaded) and UNUSED & set(loaded) == set()
    assert (collects, scipy) == ("True", "True")  # as they were before
    here = json.loads(done("predict", trained, "--text", "a sad film in paris", "--json").stdout)["predictions"]
    assert json.loads(run.stdout)["predictions"] == here
