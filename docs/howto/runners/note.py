#!/usr/bin/env python3
"""A plug-in runner: keeps a note for the target in a directory that its role's manifest names."""

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
text = str(task["variables"].get("text", "nothing"))
there = os.path.exists(path) and open(path).read() == text

if task["verb"] == "plan":
    say("step", name=f"Would write {path}", status="ok" if there else "changed")
elif task["verb"] == "apply":
    with open(path, "w") as note:
        note.write(text)
    say("step", name=f"Write {path}", status="ok" if there else "changed")
    say("document", name="note", value={"path": path})
elif task["verb"] == "delete":
    if os.path.exists(path):
        os.remove(path)
elif task["verb"] != "cancel":  # nothing goes on when this has ended
    sys.exit(f"note: there is no verb {task['verb']}")
