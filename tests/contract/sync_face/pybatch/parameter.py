# SPDX-License-Identifier: MIT
"""The parameters, with pybatch's defaults."""

from __future__ import annotations

from dataclasses import dataclass

import pybatch_async as pb

ConnectionParameters = pb.ConnectionParameters


@dataclass
class LaunchParameters(pb.LaunchParameters):
    """Describe a job."""

    max_simul_jobs: int = 1  # Bridge: 0, for no limit, in pybatch_async
