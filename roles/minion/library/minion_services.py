#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says of services whether they are installed, in which version, and whether they run. Changes nothing."""

import glob
import os
import re

from ansible.module_utils.basic import AnsibleModule

PLACES = ['/usr/sbin', '/usr/local/sbin', '/sbin']


def php_versions():
    """The versions of php-fpm that are installed, the newest first: each has a service of its own."""
    found = (re.match(r'/etc/php/(\d+)\.(\d+)/fpm\Z', path) for path in glob.glob('/etc/php/*/fpm'))
    versions = sorted(((int(match[1]), int(match[2])) for match in found if match), reverse=True)
    return ['%d.%d' % version for version in versions if os.path.exists('/usr/sbin/php-fpm%d.%d' % version)]


def known():
    """For each service that is looked at: the program, how it says its version, and its name for init."""
    php = (php_versions() or [''])[0]
    return {
        'nginx': ('nginx', ['-v'], 'nginx'),
        'apache': ('apache2', ['-v'], 'apache2'),
        'php-fpm': ('php-fpm' + php, ['-v'], 'php%s-fpm' % php),
        'mariadb': ('mariadbd', ['--version'], 'mariadb'),
        'ssh': ('sshd', ['-V'], 'ssh'),
    }


def look(module, name):
    program, words, unit = known()[name]
    path = module.get_bin_path(program, opt_dirs=PLACES)
    if path is None:
        return {'installed': False, 'running': False, 'version': None, 'unit': unit}
    _, out, error = module.run_command([path] + words)
    version = re.search(r'\d+\.\d+[0-9.]*', out + error)
    service = module.get_bin_path('service', opt_dirs=PLACES)
    running = service is not None and module.run_command([service, unit, 'status'])[0] == 0
    # A site's login may run a web server of its own, that init knows nothing of.
    running = running or name in ('nginx', 'apache', 'ssh') and runs(program)
    found = {'installed': True, 'running': running, 'version': version and version[0], 'unit': unit}
    if name == 'php-fpm':
        found['process_control_timeout'] = patience(module, path)
    return found


def runs(program):
    for path in glob.glob('/proc/[0-9]*/comm'):
        try:
            with open(path) as comm:
                if comm.read().strip() == program:
                    return True
        except OSError:
            pass  # It has ended.
    return False


def patience(module, path):
    """How long a reload of php-fpm lets requests go on; nothing where only root may ask for its configuration."""
    _, out, error = module.run_command([path, '-tt'])
    said = re.search(r'process_control_timeout = (\w+)', out + error)
    return said and said[1]


def main():
    module = AnsibleModule(
        argument_spec={'services': {'type': 'list', 'elements': 'str', 'required': True}},
        supports_check_mode=True,
    )
    names = [name for name in module.params['services'] if name in known()]
    module.exit_json(changed=False, services={name: look(module, name) for name in names})


if __name__ == '__main__':
    main()
