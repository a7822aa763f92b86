#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which release of a platform is current, and which sites on this host were made of the platform."""

import glob
import json
import os

from ansible.module_utils.basic import AnsibleModule


def platform_of(path):
    try:
        with open(path, 'rb') as file:
            return json.loads(file.read()).get('platform')
    except (OSError, ValueError):
        return None


def main():
    module = AnsibleModule(
        argument_spec={
            'directory': {'type': 'path', 'required': True},
            'platform': {'type': 'str', 'required': True},
            'sites_root': {'type': 'path', 'required': True},
        },
        supports_check_mode=True,
    )
    p = module.params
    current = os.path.join(p['directory'], 'current')
    release = os.path.basename(os.path.realpath(current)) if os.path.isdir(current) else None
    pattern = os.path.join(glob.escape(p['sites_root']), '*', 'instances', '*', 'instance.json')
    sites = sorted({path.split(os.sep)[-4] for path in glob.glob(pattern) if platform_of(path) == p['platform']})
    module.exit_json(changed=False, release=release, sites=sites)


if __name__ == '__main__':
    main()
