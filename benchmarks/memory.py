"""Peak memory: of rows that are streamed, which must not grow with N, and of ten thousand classes.

    python -m benchmarks.memory           the full sizes: an hour, 6 GiB
    python -m benchmarks.memory --small   the same questions in two minutes
    python -m benchmarks.memory --only npz   the cases of one kind of file

Every fit runs in a process of its own, after a small fit that loads the libraries. Printed is by
how much the peak rose after that, beside the size of the file.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peak import peak_mib

BUDGET = 2**24  # given to the reader: every file here is larger, so every one is streamed
BLOCK = 4096  # rows that are made at a time


@dataclass(frozen=True)
class Case:
    """A file of `n` rows, `d` features and `k` classes, and how it is read."""

    kind: str
    n: int
    d: int
    k: int
    memory: int | None = BUDGET
    tol: float = 1e-6


SMALL = (
    Case("npy", 100_000, 64, 5),
    Case("npy", 400_000, 64, 5),
    Case("parquet", 100_000, 64, 5),
    Case("parquet", 400_000, 64, 5),
    Case("csv", 50_000, 20, 3),
    Case("csv", 200_000, 20, 3),
    Case("npz", 20_000, 768, 2000, None),
)
FULL = (
    Case("npy", 500_000, 256, 10),
    Case("npy", 2_000_000, 256, 10),
    Case("parquet", 250_000, 256, 10),
    Case("parquet", 1_000_000, 256, 10),
    Case("csv", 250_000, 50, 5),
    Case("csv", 1_000_000, 50, 5),
    Case("npz", 100_000, 768, 10_000, None),
)


def main(cases: tuple[Case, ...]) -> None:
    """Print a line for every case, as it is done."""
    print(
        f"{'file':8} {'N':>9} {'D':>4} {'K':>6} {'file MiB':>9} {'peak rise MiB':>14} "
        f"{'passes':>6} {'seconds':>8}  outcome"
    )
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = _written(case, Path(folder))
            report = _measured(case, path)
            size = path.stat().st_size / 2**20
        print(
            f"{case.kind:8} {case.n:9} {case.d:4} {case.k:6} {size:9.0f} {report['rise']:14.0f} "
            f"{report['passes']:6} {report['seconds']:8.1f}  {report['message']}",
            flush=True,
        )


def _measured(case: Case, path: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", json.dumps(vars(case))]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        message = done.stderr.strip().splitlines()[-1]
        return {"rise": math.nan, "passes": "-", "seconds": math.nan, "message": message}
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return report


def _child(case: Case, path: Path) -> None:
    """Fit, and print by how much the peak rose."""
    import polylogit

    warm = np.random.default_rng(0).normal(size=(60, 3))
    polylogit.fit(polylogit.from_arrays(warm, np.arange(60) % 3), C=1.0, solver="lbfgs")
    before = peak_mib()
    if case.kind == "npy":
        dataset = _labelled(case, path)
    else:
        target = "y" if case.kind in {"csv", "parquet"} else None
        dataset = polylogit.read(path, target=target, memory=case.memory)
    started = time.perf_counter()
    solution = polylogit.fit(dataset, C=1.0, tol=case.tol).solution
    report = {
        "rise": peak_mib() - before,
        "passes": solution.statistics.passes,
        "seconds": time.perf_counter() - started,
        "message": solution.message,
    }
    print(json.dumps(report))


def _labelled(case: Case, path: Path) -> object:
    """An npy file holds no labels, so they come from beside it."""
    from dataclasses import replace

    from polylogit.data.prepare import dataset_of_matrix
    from polylogit.data.read import read_table

    matrix = read_table(path, memory=case.memory)
    labels = np.load(path.with_suffix(".labels.npy"))
    return dataset_of_matrix(replace(matrix, targets=labels), None)


# ------------------------------------------------------------------------------------------- data


def _blocks(case: Case):
    """Rows around the centres of their classes, a block at a time: features and labels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(case.k, case.d)).astype(np.float32)
    for start in range(0, case.n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, case.n))
        labels = rows % case.k
        noise = rng.normal(size=(len(rows), case.d)).astype(np.float32)
        yield np.float32(2 / case.d**0.5) * centres[labels] + noise, labels


def _written(case: Case, folder: Path) -> Path:
    path = folder / f"rows.{case.kind}"
    _WRITERS[case.kind](case, path)
    return path


def _write_npy(case: Case, path: Path) -> None:
    array = np.lib.format.open_memmap(path, "w+", np.float32, (case.n, case.d))
    _fill(array, case)
    np.save(path.with_suffix(".labels.npy"), np.arange(case.n) % case.k)


def _fill(array: np.ndarray, case: Case) -> None:
    start = 0
    for features, _ in _blocks(case):
        array[start : start + len(features)] = features
        start += len(features)


def _write_npz(case: Case, path: Path) -> None:
    array = np.empty((case.n, case.d), np.float32)
    _fill(array, case)
    np.savez(path, X=array, y=np.arange(case.n) % case.k)


def _write_csv(case: Case, path: Path) -> None:
    with path.open("w") as file:
        file.write(",".join([*(f"x{i}" for i in range(case.d)), "y"]) + "\n")
        for features, labels in _blocks(case):
            rows = np.char.mod("%.6g", features).tolist()
            lines = zip(rows, labels.tolist(), strict=True)
            file.writelines(",".join(row) + f",c{label}\n" for row, label in lines)


def _write_parquet(case: Case, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*(f"x{i}" for i in range(case.d)), "y"]
    writer = None
    for features, labels in _blocks(case):
        columns = [*features.T, np.char.mod("c%d", labels)]
        table = pa.table(dict(zip(names, map(pa.array, columns), strict=True)))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


_WRITERS: dict[str, Callable[[Case, Path], None]] = {
    "npy": _write_npy,
    "npz": _write_npz,
    "csv": _write_csv,
    "parquet": _write_parquet,
}

if __name__ == "__main__":
    if "--child" in sys.argv:
        _child(Case(**json.loads(sys.argv[-2])), Path(sys.argv[-1]))
    else:
        every = SMALL if "--small" in sys.argv else FULL
        asked = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
        main(tuple(case for case in every if asked in (None, case.kind)))
