# SPDX-License-Identifier: MIT
"""The name under which pybatch's callers catch the errors of copies, as it lets those of the package scp through."""

import pybatch_async

SCPException = pybatch_async.TransferFailed  # Bridge: one tree of errors, whatever the protocol copies with
