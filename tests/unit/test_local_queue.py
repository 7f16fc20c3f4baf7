# SPDX-License-Identifier: MIT
"""The queue of this machine, whose protocol everybody makes anew."""

from __future__ import annotations

import copy
import gc
import pickle
from weakref import ref

from pybatch_async import LaunchParameters, LocalProtocol, create_job
from pybatch_async.plugins.nobatch.queue import NobatchQueue


async def test_the_queue_outlives_the_job_that_used_it_first() -> None:
    first, second = (create_job("nobatch", LaunchParameters(["true"], "w")) for _ in range(2))
    queue = ref(NobatchQueue.of(first.protocol))
    del first
    gc.collect()
    found = NobatchQueue.of(second.protocol)
    assert found is queue()
    assert found.protocol is second.protocol


def test_this_machine_has_one_protocol() -> None:
    one = LocalProtocol()
    assert all(each is one for each in (LocalProtocol(), copy.deepcopy(one), pickle.loads(pickle.dumps(one))))
