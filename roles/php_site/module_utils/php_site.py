# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this role know together: where a site's things are, and how its own user does something.

    <root>/<site>/.aegir-php-site     says whose the directory is, so that nothing else is changed or removed
    <root>/<site>/instances/<id>/     the site as one Operation made it: code, settings, files, private, cache
    <root>/<site>/current -> instances/<id>
    <root>/<site>/offline             while visitors are told to come again; says why
    <root>/<site>/{tmp,log,tls}
"""

import json
import os
import pwd
import re
import subprocess

MARKER = '.aegir-php-site'
ID = re.compile(r'[0-9a-f]{12}\Z')


class Refused(Exception):
    """Something is not as it has to be; the text is for people."""


def write(path, content, mode=0o644, owner=0, group=0):
    """Sets a file's content in one step, readable by nobody else at any time."""
    beside = path + '.new'
    if os.path.lexists(beside):
        os.unlink(beside)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), 'wb') as file:
        file.write(content if isinstance(content, bytes) else content.encode('utf-8'))
        os.fchown(file.fileno(), owner, group)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(beside, path)


def read_json(path):
    """What a file holds; nothing where it is not there or was cut off by a power failure."""
    try:
        with open(path, 'rb') as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


class Site:
    def __init__(self, directory, target=None):
        self.directory = directory
        # The frontend's id of the site, where the directory must not be another one's.
        self.target = target
        self.instances = os.path.join(directory, 'instances')
        self.link = os.path.join(directory, 'current')
        self.marker = os.path.join(directory, MARKER)
        self.flag = os.path.join(directory, 'offline')

    def exists(self):
        """Whether it is there; refuses a directory that is not a site's."""
        if os.path.islink(self.directory):
            raise Refused('%s is a link: a site has a directory of its own' % self.directory)
        if not os.path.lexists(self.directory):
            return False
        if not os.path.isfile(self.marker) and os.listdir(self.directory):
            raise Refused('%s is there already and is no site of this kind: it has no %s. Choose another root, or '
                          'move it away' % (self.directory, MARKER))
        owner = (read_json(self.marker) or {}).get('target')
        if self.target is not None and owner not in (None, self.target):
            raise Refused('site_taken: %s is the directory of the site with the id %r, and this Operation is about %r. Give '
                          'one of them another name, or delete the other first. If it is the same site and the frontend '
                          'gave it a new id, correct `target` in %s. Nothing was changed'
                          % (self.directory, owner, self.target, self.marker))
        return True

    def claim(self):
        """Says whose it is; a directory of an earlier version did not."""
        said = {'site': os.path.basename(self.directory), 'target': self.target}
        if read_json(self.marker) != said:
            write(self.marker, json.dumps(said) + '\n')

    def instance(self, name):
        if not ID.match(name):
            raise Refused('%r is not the name of an instance' % name)
        return os.path.join(self.instances, name)

    def about(self, name):
        return read_json(os.path.join(self.instance(name), 'instance.json'))

    def current(self):
        try:
            return os.path.basename(os.readlink(self.link))
        except OSError:
            return None

    def all(self):
        """What is known of each instance, half-built ones included."""
        names = os.listdir(self.instances) if os.path.isdir(self.instances) else []
        return {name: self.about(name) or {} for name in sorted(names) if ID.match(name)}

    def offline(self):
        return read_json(self.flag) if os.path.exists(self.flag) else None


def user_of(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise Refused('there is no user %s on this host' % name)


def as_user(user, words):
    """The command as the site's own user does it, who can do no more than the site itself."""
    return ['runuser', '-u', user, '--'] + words


def client(directory):
    """How a database client is told of an instance's database: by a file, so that no process list shows a password."""
    return '--defaults-file=' + os.path.join(directory, 'settings', 'client.cnf')


def ended(process, what):
    """Waits for a process whose standard error is a file, and refuses to go on when it failed."""
    code = process.wait()
    if code != 0:
        process.aegir_errors.seek(0)
        said = process.aegir_errors.read().decode('utf-8', 'replace').strip()
        raise Refused('%s failed with %d: %s' % (what, code, said[-2000:]))


def start(words, errors, **options):
    environment = dict(os.environ, LC_ALL='C.UTF-8')
    process = subprocess.Popen(words, stderr=errors, env=environment, cwd='/', **options)
    process.aegir_errors = errors
    return process
