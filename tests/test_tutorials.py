"""The tutorials, word for word: their files are written, their commands and their Python run in an empty folder, in order."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVED = "8000"  # the port that the pages name; a free one is used


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_a_command_a_program_or_a_file(page):
    found = blocks(page)
    assert {"sh"} <= {language for language, _, _ in found} <= {"sh", "python", "yaml"}
    assert all(title for language, title, _ in found if language == "yaml")
    assert page.read_text(encoding="utf-8").count("```") == 2 * len(found)


def test_the_files_of_the_tutorials_are_rows_of_the_embedded_data():
    """Independent of the script that draws them: every row is one of SNIPS, with its own label and spans."""
    import csv
    import json
    from collections import Counter

    from trunkline.data.sources import read_table

    table = read_table("snips").columns
    rows = {(text, label): spans for text, label, spans in zip(table["text"], table["label"], table["spans"], strict=True)}
    with (FOLDER / "requests.csv").open(encoding="utf-8", newline="") as file:
        short = [(row["text"], row["intent"]) for row in csv.DictReader(file)]
    whole = [json.loads(line) for line in (FOLDER / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    assert short == [(row["text"], row["intent"]) for row in whole]
    assert set(Counter(label for _, label in short).values()) == {100} and len({text for text, _ in short}) == 700
    assert all(rows[row["text"], row["intent"]] == row["slots"] for row in whole)


def wait_until_it_answers(port: str, server: subprocess.Popen) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/tasks", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not answer")


@pytest.mark.slow
@pytest.mark.minilm
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_word_for_word(page, tmp_path):
    for data in FOLDER.glob("requests.*"):
        shutil.copy(data, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TRUNKLINE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    servers = []

    def run(command: list[str]) -> None:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    try:
        for language, title, text in blocks(page):
            if language == "yaml":
                (tmp_path / title).write_text(text, encoding="utf-8")
            elif language == "python":
                run([sys.executable, "-c", text])
            elif text.startswith("trunkline serve"):
                words = text.replace(SERVED, port).split()
                with (tmp_path / "server.log").open("ab") as log:
                    servers.append(subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=log))
                wait_until_it_answers(port, servers[-1])
            else:
                run(["bash", "-euc", text.replace(SERVED, port).replace("curl -s ", "curl -sSf ")])
    finally:
        for server in servers:
            server.terminate()
            assert server.wait(60) in (0, -15), (tmp_path / "server.log").read_text(encoding="utf-8")[-4000:]
