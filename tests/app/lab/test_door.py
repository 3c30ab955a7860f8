"""`polylogit lab` as a process: it says where it is, answers there, and ends with Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

from polylogit.app import cli


def test_help_names_its_options(capsys):
    assert cli.run(["lab", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--port", "--no-browser", "--export DIR", "--json"))


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from polylogit.app.cli import run; run(['lab', '--help']);"
        "print(sorted({'torch', 'fastapi', 'uvicorn', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n")


def test_it_answers_where_it_says_and_ends_quietly():
    line = [sys.executable, "-m", "polylogit", "lab", "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        try:
            address = json.loads(process.stdout.readline())["address"]
            with urllib.request.urlopen(f"{address}api/about", timeout=20) as answer:  # noqa: S310
                assert json.load(answer)["dtype"] == "float32"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


def test_a_port_out_of_range_is_a_usage_error(capsys):
    assert cli.run(["lab", "--port", "70000"]) == 2
    assert "--port" in capsys.readouterr().err
