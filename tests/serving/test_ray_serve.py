"""The deployment of Ray Serve answers over HTTP as the bundle does."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from bundletools import TEXTS, make
from raytools import LONG
from tiny import tiny_bert

from trunkline.errors import BadInput
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.serving.ray import Asked, application
from trunkline.trunk.load import load_trunk

PROGRAM = """
import json, sys
import ray
from ray import serve
from trunkline.serving.ray import Asked, application

ray.init(address=sys.argv[1], log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(application(Asked(branches=sys.argv[3], keys=sys.argv[4])), name="trunkline", route_prefix="/")
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
"""


def test_what_cannot_be_deployed_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        application(Asked(branches=str(tmp_path / "none")))
    with pytest.raises(ValueError, match="replicas"):
        Asked(branches="a", replicas=2)


@pytest.mark.slow
def test_a_deployment_answers_as_the_bundle_does(machines, tmp_path):
    machines.of_size(2)
    trunk = load_trunk(tiny_bert(tmp_path / "trunk"), dtype="fp32", device="cpu")
    save_branch(make(trunk, "sequence"), tmp_path / "mood")
    (tmp_path / "keys").write_text("a-key-of-a-user\n")
    from ray._common.network_utils import find_free_port

    port = find_free_port()
    words = [machines.address, port, tmp_path / "mood", tmp_path / "keys"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )

    def ask(key):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = json.dumps({"texts": TEXTS}).encode()
        address = f"http://127.0.0.1:{port}/v1/predict"
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=LONG) as answer:
            return json.loads(answer.read())

    try:
        assert process.stdout.readline() == b"ready\n"
        found = ask("a-key-of-a-user")["predictions"]
        expected = [one["t"] for one in Bundle.open(tmp_path / "mood").predict(TEXTS)]
        assert [one["t"]["label"] for one in found] == [one["label"] for one in expected]
        assert [one["t"]["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-5)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask("another-key")
        assert refused.value.code == 401
    finally:
        process.communicate(timeout=LONG)
