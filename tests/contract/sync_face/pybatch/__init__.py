# SPDX-License-Identifier: MIT
"""pybatch's names, each a thin synchronous face of pybatch_async.

With the directory above on sys.path, programs written for pybatch run over pybatch_async unchanged. Where they differ
on purpose, this face bridges the difference, and says so with a comment that begins with "Bridge:".
"""

from pybatch_async import PybatchException

from .generic_protocol import GenericProtocol
from .genericjob import GenericJob
from .job_factory import create_job
from .parameter import ConnectionParameters, LaunchParameters

ConnexionParameters = ConnectionParameters  # its name in the first versions

__all__ = [
    "ConnectionParameters",
    "ConnexionParameters",
    "GenericJob",
    "GenericProtocol",
    "LaunchParameters",
    "PybatchException",
    "create_job",
]
