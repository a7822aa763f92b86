# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of an instance, as its program and a database client read them."""

import hashlib
import json
import os

from ansible.module_utils.php_site import read_json, write

# Any PHP program finds its settings in its environment, and so does what it starts.
ENVIRONMENT = b'''<?php
// Written by Aegir. Before everything else of this instance: its settings, as environment variables.
foreach (json_decode(file_get_contents(__DIR__ . '/settings.json'), true) as $name => $value) {
    putenv("$name=$value");
    $_ENV[$name] = $_SERVER[$name] = $value;
}
unset($name, $value);
'''


def native(password):
    """What the database server keeps of a password: it is told this only, the password stays on this host."""
    return '*' + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()


def quoted(text):
    """A value of an option file, where a backslash begins an escape."""
    return '"%s"' % text.replace('\\', '\\\\').replace('"', '\\"')


def settings_of(directory, about, password, key, environment):
    database = about['database']
    settings = dict(environment)
    settings.update({
        'DB_DRIVER': 'mysql', 'DB_HOST': database['address'], 'DB_PORT': str(database['port']),
        'DB_NAME': database['name'], 'DB_USER': database['name'], 'DB_PASSWORD': password,
        'DATABASE_URL': 'mysql://%s:%s@%s:%d/%s' % (database['name'], password, database['address'],
                                                    database['port'], database['name']),
        'SITE_NAME': about['site'], 'SITE_KEY': key, 'SITE_CODE': os.path.join(directory, 'code'),
        'SITE_FILES': os.path.join(directory, 'files'), 'SITE_PRIVATE': os.path.join(directory, 'private'),
        'SITE_CACHE': os.path.join(directory, 'cache'),
    })
    return settings


def put_settings(directory, user, about, settings):
    """Readable by the site's own user, and changed by nobody but root."""
    # What no visitor gets, and what can be made anew at any time: the one is backed up, the other is not.
    for name in ('private', 'cache'):
        if not os.path.isdir(os.path.join(directory, name)):
            os.mkdir(os.path.join(directory, name), 0o700)
            os.chown(os.path.join(directory, name), user.pw_uid, user.pw_gid)
    place = os.path.join(directory, 'settings')
    os.makedirs(place, exist_ok=True)
    os.chmod(place, 0o755)
    content = json.dumps(settings, indent=2, sort_keys=True) + '\n'
    path = os.path.join(place, 'settings.json')
    changed = read_json(path) != settings
    if changed:
        write(path, content, 0o640, 0, user.pw_gid)
    database = about['database']
    lines = ['[client]', 'user=' + quoted(database['name']), 'password=' + quoted(settings['DB_PASSWORD'])]
    if database['address'] != 'localhost':
        lines += ['host=' + quoted(database['address']), 'port=%d' % database['port'], 'protocol=tcp',
                  # Since MariaDB 11.4 a client refuses a server without TLS, as that of Debian 12 is. PHP does not ask for
                  # TLS either; where the server offers it this client still uses it.
                  'ssl-verify-server-cert=0']
    write(os.path.join(place, 'client.cnf'), '\n'.join(lines) + '\n', 0o640, 0, user.pw_gid)
    # For installers that take a password by file.
    write(os.path.join(place, 'password'), settings['DB_PASSWORD'], 0o640, 0, user.pw_gid)
    write(os.path.join(place, 'environment.php'), ENVIRONMENT)
    return changed
