"""A fit of streamed rows takes little memory, however many rows there are."""

import os
import subprocess
import sys
import textwrap

import numpy as np

CHILD = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    import numpy as np
    import polylogit
    from polylogit.data.prepare import dataset_of_matrix
    from polylogit.data.read import read_table

    warm = np.random.default_rng(0).normal(size=(60, 3))
    polylogit.fit(polylogit.from_arrays(warm, np.arange(60) % 3), solver="lbfgs")

    def peak():  # ru_maxrss begins at what the process held that started this one
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

    before = peak()
    matrix = read_table(sys.argv[1], memory="50MiB")
    labels = np.arange(matrix.n_rows) % 2
    dataset = dataset_of_matrix(replace(matrix, targets=labels), None)
    outcome = polylogit.fit(dataset, tol=1e-2, solver="lbfgs")
    assert outcome.solution.certified
    assert peak() > before
    print((peak() - before) // 2**10)
"""


def test_400_mb_are_fitted_within_250(tmp_path):
    path = tmp_path / "rows.npy"
    block = np.random.default_rng(0).normal(size=(4096, 256)).astype(np.float32)
    block[::2, 0] += 1
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (100 * 4096, 256))
    for start in range(0, len(rows), 4096):
        rows[start : start + 4096] = block
    rows.flush()
    assert path.stat().st_size > 400e6
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path)],
        env=dict(os.environ, TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 250
    assert os.listdir(tmp_path) == ["rows.npy"]
