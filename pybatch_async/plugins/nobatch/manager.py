# SPDX-License-Identifier: MIT
"""The manager that runs on the host: one verb a call, for any number of jobs.

It needs Python 3.6 and its standard library. A request is one line of JSON on standard input, for `submit` followed by
a tar archive; the answer is one line of JSON after a random mark, so that nothing else can be taken for it. No verb
waits for a job: what has to go on after the call is done by the keeper (see host/keeper.py).
"""

import json
import os
import sys

from .host.choice import part
from .host.store import MARK, Refused, Store, absolute, default_root, home, host_name, is_full, machine, raw, text

calling, identity = part("calling"), part("identity")


def main(verb, mark, stream, further=()):
    """Answer one call.

    :param verb: submit, states, cancel or locate, or one of those that this kind of system needs besides.
    :param mark: what begins the line of the answer.
    :param stream: where the request comes from.
    :param further: the functions of the latter, by name.
    """
    try:
        base = os.getcwdb()
    except OSError:  # a shell can stand in a directory that was removed
        base = home()
    try:
        identity.check()
        request = json.loads(stream.readline().decode("ascii"))
        answer = dict(VERBS, **dict(further))[verb](Store(default_root()).open(), request, base, stream)
    except Refused as error:
        answer = {"error": str(error)}
    except OSError as error:
        advice = "make room there" if is_full(error) else "set it right and try again"
        answer = {"error": "The queue in %s: %s: %s." % (text(default_root()), error, advice)}
    sys.stdout.write("\n%s %s\n" % (mark, json.dumps(answer)))
    sys.stdout.flush()


def submit(store, request, base, stream):
    """Take jobs into the queue; one that is known already stays as it is."""
    jobs = request["jobs"]
    for job in jobs:
        job["place"] = absolute(job["dir"], base)
    failures = _unpack(store, request, jobs, base, stream)
    with store.lock():
        if request["slots"] is not None:
            store.put("slots", "", "%d\n" % request["slots"])
        environment = _keep_environment(store)
        known = _Known(store)
        answers = [_enter(store, known, job, failures.get(job["place"]), environment) for job in jobs]
    if store.names("jobs"):
        calling.wake(store)
    return {"jobs": answers, "host": host_name()}


def states(store, request, base, stream):
    """Tell of each job that is known here how far it is."""
    if store.names("jobs"):
        calling.revive(store)
    return {"jobs": [_report(store, name) for name in request["jobs"]], "host": host_name()}


def cancel(store, request, base, stream):
    """Stop jobs and single tasks."""
    for name, index in request["jobs"]:
        store.put("cancels", name if index is None else "%s.%d" % (name, index), "")
    if store.names("jobs"):
        calling.wake(store)
    else:
        for name in store.names("cancels"):
            store.remove("cancels", name)
    return {}


def locate(store, request, base, stream):
    """Tell whether a submission has arrived; if it has not, it can be kept from arriving later."""
    with store.lock():
        name = _Known(store).by_token.get(request["token"])
        if name is None and request["revoke"]:
            store.put("revoked", request["token"], "")
    return {"job": _ticket(store, name) if name else None}


VERBS = {"submit": submit, "states": states, "cancel": cancel, "locate": locate}


class _Known:
    """Hold the names of all jobs by token and by id."""

    def __init__(self, store):
        self.by_token, self.by_id, self.last = {}, {}, 0
        for kind in ("jobs", "ended"):
            for name in store.names(kind):
                self.add(name)

    def add(self, name):
        number, _, token = name.partition(".")
        self.by_token[token] = name
        self.by_id[int(number)] = name
        self.last = max(self.last, int(number))

    def new_name(self, token):
        name = "%d.%s" % (self.last + 1, token)
        self.add(name)
        return name


def _unpack(store, request, jobs, base, stream):
    known = _Known(store).by_token
    done = [job["place"] for job in jobs if job["token"] in known]
    scratch = store.path("tmp", "blobs.%d" % os.getpid())
    from .host import unpack  # here, since no other verb needs what it imports

    places = [job["place"] for job in jobs]
    roots = {b"%d" % number: place for number, place in enumerate(places)}
    unpacker = unpack.Unpacker(base, places, done, scratch, roots)
    unpacker.make()
    try:
        unpacker.unpack(stream)
        for source, directory in request["copies"]:
            unpacker.copy(source, places[directory] if isinstance(directory, int) else absolute(directory, base))
    finally:
        unpacker.clean()
    return {place: unpack.explain(place, error) for place, error in unpacker.failures.items()}


def _keep_environment(store):
    """Keep what the client's jobs will find around them, once for all who have the same."""
    import hashlib  # here, since no other verb needs it

    umask = os.umask(0)
    os.umask(umask)
    environment = machine.environment()
    environment.pop(MARK, None)
    content = json.dumps({"environment": environment, "umask": umask}, sort_keys=True)
    name = hashlib.sha256(content.encode("ascii")).hexdigest()[:20]
    if store.read("environments", name) is None:
        store.put("environments", name, content)
    return name


def _enter(store, known, job, failure, environment):
    name = known.by_token.get(job["token"])
    if name:
        return _ticket(store, name)
    if os.path.exists(store.path("revoked", job["token"])):
        return {"error": "It was cancelled while its submission was under way."}
    if failure is not None:
        return {"error": failure}
    after, missing = _resolved(known, job["after"])
    if missing:
        return {"error": "dependencies: there is no job %s in the queue of this host." % ", ".join(missing)}
    return _write(store, known.new_name(job["token"]), job, after, environment)


def _write(store, name, job, after, environment):
    launch = dict(job["launch"], dir=text(job["place"]), base=environment)
    header = dict(job["header"], id=int(name.split(".")[0]), after=after, dir=launch["dir"], submitted=identity.now())
    try:
        if job["nodefile"]:
            with open(os.path.join(job["place"], raw(job["nodefile"]["name"])), "w") as file:
                file.write((host_name() + "\n") * job["nodefile"]["lines"])
            launch["environment"]["LIBBATCH_NODEFILE"] = os.path.join(launch["dir"], job["nodefile"]["name"])
        store.put("jobs", name, json.dumps(header) + "\n" + json.dumps(launch) + "\n")
    except OSError as error:
        return {"error": "The record of the job can not be written (%s): make room on the host." % error}
    return {"name": name, "dir": header["dir"], "submitted": header["submitted"]}


def _resolved(known, after):
    names = [[kind, known.by_id.get(number)] for kind, number in after]
    return names, [str(number) for (_, number), (_, name) in zip(after, names) if name is None]


def _ticket(store, name):
    header = store.header(name) or store.ended(name)["header"]
    return {"name": name, "dir": header["dir"], "submitted": header["submitted"]}


def _report(store, name):
    """Return what is recorded of a job; None for one that is not known."""
    ended = store.ended(name)
    header = None if ended else store.header(name)
    if header:
        records = ((str(index), store.task(name, index)) for index in range(header["total"]))
        tasks = {index: record for index, record in records if record is not None}
        ended = store.ended(name)  # its records may have been folded while they were read
    if ended:
        header, tasks = ended["header"], ended["tasks"]
    elif not header:
        return None
    reason = "Dependency" if header["after"] else "Resources"
    return {"submitted": header["submitted"], "total": header["total"], "waiting": reason, "tasks": tasks}
