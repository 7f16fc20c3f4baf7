# SPDX-License-Identifier: MIT
"""The ssh program: its options, its questions, its shared login."""
