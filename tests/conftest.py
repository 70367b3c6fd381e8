"""Makes the reader of the golden data importable from every test folder: `from golden import Golden`."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "golden"))
