#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what was said of a site or a platform, for Operations that do not say it again.

    <directory>/variables.json    {"variables": {...}, "service": {...}}

state=read gives it, with whether the host has IPv6. state=written sets the variables that are given, and leaves the others.
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule

FILE = 'variables.json'
NOTHING = {'variables': {}, 'service': {}}


def read(directory):
    try:
        # A link would be somebody's who may write there, and lead elsewhere.
        with open(os.open(os.path.join(directory, FILE), os.O_RDONLY | os.O_NOFOLLOW), 'rb') as file:
            said = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return dict(NOTHING)
    return {name: said.get(name) or {} for name in NOTHING}


def write(directory, said):
    path = os.path.join(directory, FILE)
    beside = path + '.new'
    if os.path.lexists(beside):
        os.unlink(beside)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), 'w') as file:
        file.write(json.dumps(said, indent=2, sort_keys=True) + '\n')
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    os.rename(beside, path)


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['read', 'written'], 'default': 'read'},
            'directory': {'type': 'path', 'required': True},
            'variables': {'type': 'dict', 'default': {}},
            'service': {'type': 'dict', 'default': {}},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        said = read(p['directory'])
        after = {name: dict(said[name], **p[name]) for name in NOTHING} if p['state'] == 'written' else said
        if after != said and not module.check_mode:
            write(p['directory'], after)
    except (OSError, ValueError) as error:
        module.fail_json(msg='%s in %s can\'t be read or written: %s' % (FILE, p['directory'], error))
    module.exit_json(changed=after != said, ipv6=os.path.exists('/proc/net/if_inet6'), **after)


if __name__ == '__main__':
    main()
