"""Their doctests are collected with all others; what they import lies beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are not a package
