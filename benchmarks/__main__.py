"""`python -m benchmarks [NAME]`: all benchmarks one after the other, or those whose file's name holds NAME."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    codes = []
    for file in sorted(Path(__file__).parent.glob("bench_*.py")):
        if wanted in file.stem:
            print(f"== {file.stem.removeprefix('bench_')}", flush=True)
            codes.append(subprocess.run([sys.executable, str(file)]).returncode)
    return max(codes, default=2)


if __name__ == "__main__":
    sys.exit(main())
