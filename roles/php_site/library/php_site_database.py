#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes or removes the databases of a site's instances, each with a user of the same name.

Works as root through the server's own socket: there is no administrator's password anywhere. Of the user's password it
gets what the server keeps of it.
"""

import re
import socket
import subprocess

from ansible.module_utils.basic import AnsibleModule

# No underscore: in a grant that would stand for any character, and let a site into another one's database.
NAME = re.compile(r'aegir[0-9a-f]{22}\Z')
HASH = re.compile(r'\*[0-9A-F]{40}\Z')


class Refused(Exception):
    """Something is not as it has to be; the text is for people."""


def ask(sql):
    words = ['mariadb', '--no-defaults', '--protocol=socket', '--user=root', '--batch', '--skip-column-names']
    try:
        done = subprocess.run(words, input=sql.encode(), capture_output=True, timeout=300)
    except FileNotFoundError:
        raise Refused('there is no MariaDB on this host: set the service mariadb up first')
    if done.returncode != 0:
        raise Refused('MariaDB says: ' + done.stderr.decode('utf-8', 'replace').strip())
    return done.stdout.decode().splitlines()


def places(client):
    """Where the user may come from: the addresses that this host knows the web server's by."""
    if client == 'localhost':
        return ['localhost']
    try:
        found = sorted({item[4][0] for item in socket.getaddrinfo(client, None, type=socket.SOCK_STREAM)})
    except OSError as error:
        raise Refused('this host does not know an address of %s: %s' % (client, error))
    if not all(re.match(r'[0-9A-Fa-f:.]+\Z', place) for place in found):
        raise Refused('%s has no plain address' % client)
    return found


def users(names):
    wanted = ', '.join("'%s'" % name for name in names)
    return [line.split('\t') for line in ask('SELECT User, Host FROM mysql.user WHERE User IN (%s)' % wanted)]


def databases(names):
    wanted = ', '.join("'%s'" % name for name in names)
    return ask('SELECT schema_name FROM information_schema.schemata WHERE schema_name IN (%s)' % wanted)


def drop(names):
    statements = ['DROP DATABASE IF EXISTS `%s`;' % name for name in names]
    statements += ["DROP USER IF EXISTS '%s'@'%s';" % (user, host) for user, host in users(names)]
    ask('\n'.join(statements))


def make(name, kept, client):
    statements = ['CREATE DATABASE `%s` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;' % name]
    for place in places(client):
        who = "'%s'@'%s'" % (name, place)
        statements.append("CREATE USER %s IDENTIFIED BY PASSWORD '%s';" % (who, kept))
        statements.append('GRANT ALL PRIVILEGES ON `%s`.* TO %s;' % (name, who))
    ask('\n'.join(statements))


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['present', 'absent'], 'default': 'present'},
            'names': {'type': 'list', 'elements': 'str', 'required': True},
            'password_hash': {'type': 'str', 'no_log': False},
            'client': {'type': 'str'},
        },
        required_if=[('state', 'present', ['password_hash', 'client'])],
        supports_check_mode=True,
    )
    p = module.params
    names = p['names']
    if not all(NAME.match(name) for name in names):
        module.fail_json(msg='%r are not names of databases that this makes' % names)
    if p['state'] == 'present' and not HASH.match(p['password_hash']):
        module.fail_json(msg='this is not what a server keeps of a password')
    try:
        changed = p['state'] == 'present' or bool(names and (databases(names) or users(names)))
        if changed and not module.check_mode:
            # An instance begins with an empty database, whatever an attempt that was stopped has left in it.
            drop(names)
            if p['state'] == 'present':
                make(names[0], p['password_hash'], p['client'])
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except subprocess.TimeoutExpired:
        module.fail_json(msg='MariaDB did not answer within 300 seconds')
    module.exit_json(changed=changed)


if __name__ == '__main__':
    main()
