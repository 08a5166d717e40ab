"""ezkl as its documentation uses it: default settings, then its own calibration.

``python -m scripts.ezkl_calibrated MODEL DATA SETTINGS SCALE`` writes the settings file. A process
of its own, because ezkl can take its process down.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def main(model: str, data: str, settings: str, scale: str) -> None:
    """Public input and output, fixed weights, all else as it is; calibrated on ``data``."""
    import ezkl

    # Its stubs know neither the fields nor the defaults.
    library: Any = ezkl
    run_args = library.PyRunArgs()
    run_args.input_visibility = "public"
    run_args.output_visibility = "public"
    run_args.param_visibility = "fixed"
    library.gen_settings(model, settings, run_args)
    library.calibrate_settings(data, model, settings, "resources", scales=[int(scale)])
    sys.stdout.flush()
    # The interpreter's shutdown crashes at times after ezkl ran.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
