# SPDX-License-Identifier: MIT
"""Files to and from a host, as tar streams."""
