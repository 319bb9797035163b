"""What mypy and pyright must see of the public names. Checked by both, never run."""

from typing import assert_type

import onward

assert_type(onward.__name__, str)
