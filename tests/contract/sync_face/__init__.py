# SPDX-License-Identifier: MIT
"""A synchronous face over the library, and the tests that prove with it what users of pybatch rely on."""
