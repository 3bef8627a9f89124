"""The page's files: vendored as they came, one script for the folder, and nothing that ends a script early."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from watchrender.web import page

VENDOR = page.STATIC / "vendor"


def test_vendored_code_is_what_its_list_of_hashes_says() -> None:
    listed = dict(reversed(line.split()) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())

    assert {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "README.md"} == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_every_import_of_a_module_is_a_file_that_is_served() -> None:
    for name, data in page.assets().items():
        for imported in re.findall(rb"from\s*[\"']([^\"']+)[\"']", data) if name.endswith("js") else ():
            assert imported.startswith(b"./")
            assert imported[2:].decode() in page.assets(), (name, imported)


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for name, data in page.assets().items():
        if name not in ("preact.mjs", "icon.svg"):  # those name the SVG namespace, which nobody fetches
            assert b"http://" not in data.replace(b"http://www.w3.org/", b""), name
            assert b"https://" not in data, name


def test_data_in_the_folders_page_cannot_end_its_element() -> None:
    evil = "</script><script>alert(1)</script><!-- & \u2028"
    text = page.standalone({"queue": [{"id": "1", "job": evil}]}, {"why": evil})

    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    assert json.loads(block[1])["queue"]["queue"][0]["job"] == evil
    assert text.count("</script>") == 2


def test_the_folders_page_stays_small_with_a_long_queue() -> None:
    queue = {"queue": [{"id": str(number), "job": "x" * 100} for number in range(500)], "total": 5000}

    text = page.standalone(queue, {"ignored": [{"path": "x", "why": "y"}] * 1000})

    assert len(text) < 200_000
    assert text.count('"id":"') == page.FOLDER_QUEUE


@pytest.mark.skipif(shutil.which("node") is None, reason="node checks the script's grammar, and there is none")
def test_the_folders_script_is_one_that_a_browser_can_read(tmp_path: Path) -> None:
    text = page.standalone_page()
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    file = tmp_path / "page.js"
    file.write_text(script, encoding="utf-8")

    done = subprocess.run(["node", "--check", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "import " not in re.sub(r"//.*", "", script.replace("!import", ""))
    assert page._hash_of(script) in text
