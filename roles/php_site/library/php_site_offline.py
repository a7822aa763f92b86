#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells visitors of a site to come again, or not any more.

The web server looks for a file, so that nothing is reloaded. Going offline ends when what was being answered is, and
when what cron had begun is: from then on the site writes nothing.
"""

import fcntl
import json
import os
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.php_site import Refused, Site, read_json, write
from ansible.module_utils.php_site_fastcgi import ask

STATUS = '/aegir-status'


def busy(pool):
    """How many requests a pool answers or keeps waiting, beside this question."""
    try:
        # In full: what each process says of itself. The sums are the master's, who counts once a second; until then a
        # process that was started for this question hides one that is at work.
        status, _, body, _ = ask(pool, {'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': STATUS, 'SCRIPT_FILENAME': STATUS,
                                        'REQUEST_URI': STATUS + '?full', 'QUERY_STRING': 'full',
                                        'SERVER_PROTOCOL': 'HTTP/1.1'}, 5)
        states = re.findall(rb'^state: +(\S+)', body, re.MULTILINE)
        waiting = re.search(rb'^listen queue: +(\d+)', body, re.MULTILINE)
        if status != 200 or not states or waiting is None:
            return 1
        return sum(state != b'Idle' for state in states) + int(waiting[1]) - 1
    except (FileNotFoundError, ConnectionRefusedError):
        return 0  # No pool, no requests.
    except (OSError, ValueError):
        return 1  # All its processes are taken, or it is just reloading.


def until_quiet(module, site):
    end = time.monotonic() + module.params['seconds']
    with open(os.path.join(site.directory, 'cron.lock'), 'rb') as lock:
        quiet = 0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(lock, fcntl.LOCK_UN)
                quiet = 0 if busy(module.params['pool']) else quiet + 1
            except BlockingIOError:
                quiet = 0
            # Twice: a request that had passed the web server just before is seen by the second look.
            if quiet == 2:
                return
            if time.monotonic() >= end:
                raise Refused('the site still answers requests or runs cron after %d seconds'
                              % module.params['seconds'])
            time.sleep(0.1)


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['offline', 'online'], 'required': True},
            'directory': {'type': 'path', 'required': True},
            'why': {'type': 'dict', 'default': {}},
            'pool': {'type': 'path'},
            'seconds': {'type': 'int', 'default': 60},
            # It stays offline even if it does not become quiet: nobody needs it to be.
            'anyway': {'type': 'bool', 'default': False},
        },
        required_if=[('state', 'offline', ['pool'])],
        supports_check_mode=True,
    )
    p = module.params
    site = Site(p['directory'])
    try:
        if not site.exists():
            module.exit_json(changed=False)
        before = read_json(site.flag) or {} if os.path.exists(site.flag) else None
        changed = before is not None if p['state'] == 'online' else before != p['why']
        if not module.check_mode:
            if p['state'] == 'online':
                if changed:
                    os.unlink(site.flag)
            else:
                write(site.flag, json.dumps(p['why']) + '\n')
                try:
                    until_quiet(module, site)
                except BaseException as error:
                    if before is None and not p['anyway']:
                        os.unlink(site.flag)
                    if not (p['anyway'] and isinstance(error, Refused)):
                        raise
                    module.warn(str(error))
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except OSError as error:
        module.fail_json(msg='%s: %s' % (error.filename, error.strerror))
    module.exit_json(changed=changed)


if __name__ == '__main__':
    main()
