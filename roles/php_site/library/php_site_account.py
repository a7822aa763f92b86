#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes a site's user, with whatever still runs as it, and the socket of its pool."""

import os
import pwd
import shutil
import signal
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

PATIENCE = 60


def processes(uid):
    found = []
    for name in os.listdir('/proc'):
        try:
            if name.isdigit() and os.stat('/proc/' + name).st_uid == uid:
                found.append(int(name))
        except FileNotFoundError:
            pass
    return found


def end(uid):
    """Ends what runs as the user; a pool that was just reloaded may still answer a request."""
    deadline = time.monotonic() + PATIENCE
    while processes(uid):
        if time.monotonic() > deadline:
            return False
        for process in processes(uid):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    return True


def main():
    module = AnsibleModule(
        argument_spec={'name': {'type': 'str', 'required': True}, 'socket': {'type': 'path', 'required': True}},
        supports_check_mode=True,
    )
    name, socket = module.params['name'], module.params['socket']
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        uid = None
    changed = uid is not None or os.path.exists(socket)
    if changed and not module.check_mode:
        if uid is not None:
            if not end(uid):
                module.fail_json(msg='processes of %s do not end' % name)
            # The next user of that number, or name, does not inherit what this one had cron do.
            if shutil.which('crontab'):
                subprocess.run(['crontab', '-r', '-u', name], capture_output=True)
            # Its group of the same name goes with it.
            done = subprocess.run(['userdel', name], capture_output=True)
            if done.returncode != 0:
                module.fail_json(msg=done.stderr.decode('utf-8', 'replace').strip())
        if os.path.exists(socket):
            os.unlink(socket)
    module.exit_json(changed=changed)


if __name__ == '__main__':
    main()
