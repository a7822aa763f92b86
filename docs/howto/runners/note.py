#!/usr/bin/env python3
"""A plug-in runner: keeps a note for the target in a directory that its role's manifest names."""

import hashlib
import json
import os
import sys

task = json.load(sys.stdin)
if task["protocol"] != "aegir.runner/0":
    sys.exit(f"note: this speaks aegir.runner/0, not {task['protocol']}")
lines = os.fdopen(3, "w", buffering=1)


def say(event, **rest):
    print(json.dumps({"event": event, **rest}), file=lines)


say("greeting", protocol="aegir.runner/0", version="1")
path = os.path.join(task["with"].get("directory", "."), task["target"]["id"])
found = open(path).read() if os.path.exists(path) else None
wanted = str(task["variables"].get("text", "nothing")) if task["task_verb"] == "apply" else None
status = "ok" if found == wanted else "changed"
# What is there, by its time: a hash of the text itself would let somebody guess at a secret one.
plan = hashlib.sha256(repr((path, found and os.stat(path).st_mtime_ns)).encode()).hexdigest()

if task["verb"] == "plan":
    say("step", name=f"Would {'remove' if wanted is None else 'write'} {path}", status=status)
    say("plan", hash=plan, changes={"path": path, "changed": found != wanted})
elif task["verb"] != "cancel" and task.get("approved") not in (None, plan):
    say("step", name=f"Look at {path}", status="failed", message="plan_changed: it has changed since: plan again")
    sys.exit(1)
elif task["verb"] == "apply":
    with open(path, "w") as note:
        note.write(wanted)
    say("step", name=f"Write {path}", status=status)
    say("document", name="note", value={"path": path})
elif task["verb"] == "delete" and found is not None:
    os.remove(path)
elif task["verb"] not in ("delete", "cancel"):  # nothing goes on when this has ended
    sys.exit(f"note: there is no verb {task['verb']}")
