# SPDX-License-Identifier: MIT
"""The standard use case: describe a job, submit it, await its end, bring its result back; on any host and plugin.

    use_case.py                                                on this machine, without a batch manager
    use_case.py --plugin slurm                                 on this machine, which is a Slurm front-end
    use_case.py --plugin slurm --host gaia --user me           on a cluster, from your laptop
    use_case.py --plugin nobatch --host desk --protocol ssh    on a workstation, through the ssh program
"""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pybatch_async as pb


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run one small job.")
    parser.add_argument("--plugin", default="nobatch", help="slurm, nobatch or local (default: %(default)s)")
    parser.add_argument("--protocol", default="asyncssh", choices=["asyncssh", "ssh"], help="how to reach the host")
    parser.add_argument("--host", default="", help="where the job runs (default: this machine)")
    parser.add_argument("--user", help="login name there")
    parser.add_argument("--port", type=int, help="port of its ssh server")
    parser.add_argument("--client-key", type=Path, help="private key to log in with")
    parser.add_argument("--known-hosts", type=Path, help="known_hosts file to verify the host against")
    parser.add_argument("--gss-auth", action="store_true", help="log in with a Kerberos ticket")
    parser.add_argument("--partition", default="", help="Slurm partition")
    parser.add_argument("--work-directory", default="job_test", help="on the host (default: %(default)s)")
    return parser.parse_args()


def make_protocol(options: argparse.Namespace) -> pb.GenericProtocol:
    """Choose how to reach the host; no connection is made before the first use."""
    if not options.host:
        return pb.LocalProtocol()
    connection = pb.ConnectionParameters(
        host=options.host,
        user=options.user,
        gss_auth=options.gss_auth,
        port=options.port,
        client_keys=[options.client_key] if options.client_key else None,
        known_hosts=options.known_hosts,
    )
    return pb.SshProtocol(connection) if options.protocol == "ssh" else pb.AsyncsshProtocol(connection)


def make_params(options: argparse.Namespace) -> pb.LaunchParameters:
    return pb.LaunchParameters(
        ["touch", "result.txt"],
        options.work_directory,
        name="myjob",
        nodes=1,
        ntasks=1,
        wall_time="10",  # minutes
        partition=options.partition,
    )


async def run(job: pb.GenericJob, results: str) -> int:
    print(job.batch_file())
    await job.submit()
    print(f"job {job.job_id} is {await job.state()}")

    again = pb.reload_job(job.dump(), job.protocol)  # the same job, as another process on another day would see it
    print(f"it ended {await again.wait()} with exit code {await again.exit_code()}")

    await job.get(["result.txt"], results)
    print(f"brought back: {', '.join(os.listdir(results))}")
    print(f"it wrote {len(await job.stdout())} characters of output and {len(await job.stderr())} of errors")
    return await job.exit_code() or 0


async def main() -> int:
    options = parse_arguments()
    async with make_protocol(options) as protocol:
        job = pb.create_job(options.plugin, make_params(options), protocol)
        with tempfile.TemporaryDirectory(prefix="use-case-") as results:
            return await run(job, results)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except pb.PybatchException as error:
        sys.exit(f"{type(error).__name__}: {error}")
