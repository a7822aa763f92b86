#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a backup of an instance, checks one, loads one into an instance, or removes one.

    <directory>/database.sql.gz, files.tar.gz, settings.json    what the site consists of beside its code
    <directory>/backup.json                                     what they are, with their SHA-256

Dump, load and archive are done by the site's own user, who can do no more than the site: neither a file that the site
has put there nor a line in a dump makes root do anything.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.php_site import Refused, as_user, client, ended, read_json, start, user_of, write

PARTS = ['database.sql.gz', 'files.tar.gz', 'settings.json']
BLOCK = 1024 * 1024


class Hashed:
    """A file that knows its SHA-256."""

    def __init__(self, path):
        self.file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb')
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data):
        self.digest.update(data)
        self.bytes += len(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return {'sha256': self.digest.hexdigest(), 'bytes': self.bytes}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(BLOCK), b''):
            digest.update(block)
    return digest.hexdigest()


def compressed(words, path, what, filtered=None, good=(0,)):
    """Packs what a command prints into a file, and says what that holds."""
    target = Hashed(path)
    with tempfile.TemporaryFile() as errors:
        process = start(words, errors, stdout=subprocess.PIPE)
        with gzip.GzipFile(fileobj=target, mode='wb', compresslevel=4, mtime=0) as packed:
            for block in filtered(process.stdout) if filtered else iter(lambda: process.stdout.read(BLOCK), b''):
                packed.write(block)
        if process.wait() not in good:
            ended(process, what)
    return target.close()


def without_definer(name):
    """Views and triggers belong to the user of this database, and after a load to that of the next one."""
    definer = re.compile(rb'DEFINER=`%s`@`[^`]*` ?' % name.encode())
    return lambda lines: (definer.sub(b'', line) if line.startswith((b'/*!', b'CREATE')) else line for line in lines)


def dump(module, instance, about, path):
    words = ['mariadb-dump', client(instance), '--single-transaction', '--quick', '--no-tablespaces', '--routines',
             '--triggers', '--events', '--hex-blob', '--skip-dump-date', '--default-character-set=utf8mb4',
             about['database']['name']]
    return compressed(as_user(module.params['user'], words), path, 'the dump', without_definer(about['database']['name']))


def archive(module, instance, path):
    words = ['tar', '--create', '--directory', instance, '--numeric-owner', '--sort=name', '--', 'files', 'private']
    # 1: a file changed while it was read, as happens on a site that is in use.
    return compressed(as_user(module.params['user'], words), path, 'the archive of the files', good=(0, 1))


def keep_what_differs(directory, instance):
    """An earlier attempt's backup may be all that there is of an instance that went since; this one's would replace it."""
    try:
        there = check(directory)
    except Refused:
        return  # None, or none that is of use.
    if there['instance'] != instance:
        raise Refused('an earlier attempt has made backup %s, of instance %s; the site is another one since, %s. Begin a new '
                      'Operation rather than to replace that backup' % (there['name'], there['instance'], instance))


def make(module, directory, instance):
    about = read_json(os.path.join(instance, 'instance.json'))
    settings = read_json(os.path.join(instance, 'settings', 'settings.json'))
    if about is None or settings is None:
        raise Refused('%s is not whole, and can\'t be backed up' % instance)
    keep_what_differs(directory, about['id'])
    beside = directory + '.new'
    if os.path.isdir(beside):
        shutil.rmtree(beside)
    of_site = os.path.dirname(directory)
    # What is handed to another host lies in there too, for a login that must get through.
    os.makedirs(os.path.dirname(of_site), mode=0o711, exist_ok=True)
    os.makedirs(of_site, mode=0o700, exist_ok=True)
    os.mkdir(beside, 0o700)
    place = {name: os.path.join(beside, name) for name in PARTS}
    parts = {'database.sql.gz': dump(module, instance, about, place['database.sql.gz']),
             # After the dump: a file that the database speaks of is there, unless it was removed just now.
             'files.tar.gz': archive(module, instance, place['files.tar.gz'])}
    # What the site's sessions and tokens are signed with goes with it.
    kept = json.dumps({'SITE_KEY': settings['SITE_KEY']}).encode()
    write(place['settings.json'], kept, 0o600)
    parts['settings.json'] = {'sha256': hashlib.sha256(kept).hexdigest(), 'bytes': len(kept)}
    said = {name: about.get(name) for name in ('site', 'application', 'platform', 'release')}
    said.update(name=os.path.basename(directory), instance=about['id'], operation=module.params['operation'],
                parts=parts, bytes=sum(part['bytes'] for part in parts.values()))
    write(os.path.join(beside, 'backup.json'), json.dumps(said, indent=2, sort_keys=True) + '\n', 0o600)
    os.sync()
    if os.path.isdir(directory):
        shutil.rmtree(directory)
    os.rename(beside, directory)
    return said


def check(directory):
    said = read_json(os.path.join(directory, 'backup.json'))
    if said is None:
        raise Refused('backup_missing: there is no backup %s on this host' % directory)
    for name in PARTS:
        path = os.path.join(directory, name)
        if not os.path.isfile(path) or sha256(path) != said['parts'][name]['sha256']:
            raise Refused('backup_damaged: backup %s is damaged: %s is not what was backed up. Nothing was changed'
                          % (directory, name))
    return said


def fed(words, path, what):
    """A command that reads what a packed file holds."""
    with tempfile.TemporaryFile() as errors, gzip.open(path) as packed:
        process = start(words, errors, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            shutil.copyfileobj(packed, process.stdin, BLOCK)
            process.stdin.close()
        except BrokenPipeError:
            pass  # It says why at its end.
        ended(process, what)


def load(module, directory, instance):
    said = check(directory)
    about = read_json(os.path.join(instance, 'instance.json'))
    if said['application'] != about['application']:
        raise Refused('the backup is of a site of %s, and can\'t become one of %s' % (said['application'], about['application']))
    user, who = module.params['user'], user_of(module.params['user'])
    for name in ('files', 'private'):
        path = os.path.join(instance, name)
        shutil.rmtree(path)
        os.mkdir(path, 0o755 if name == 'files' else 0o700)
        os.chown(path, who.pw_uid, who.pw_gid)
    fed(as_user(user, ['tar', '--extract', '--directory', instance, '--no-same-owner', '--no-overwrite-dir']),
        os.path.join(directory, 'files.tar.gz'), 'unpacking the files')
    # What this application writes to and the backup does not have.
    for path in about['writable_paths']:
        made = subprocess.run(as_user(user, ['mkdir', '-p', '--', os.path.join(instance, 'files', path)]),
                              capture_output=True)
        if made.returncode != 0:
            raise Refused(made.stderr.decode('utf-8', 'replace').strip())
    fed(as_user(user, ['mariadb', client(instance), '--default-character-set=utf8mb4', about['database']['name']]),
        os.path.join(directory, 'database.sql.gz'), 'loading the database')
    settings = os.path.join(instance, 'settings', 'settings.json')
    kept = dict(read_json(settings), **({} if module.params['new_key'] else
                                        read_json(os.path.join(directory, 'settings.json'))))
    write(settings, json.dumps(kept, indent=2, sort_keys=True) + '\n', 0o640, 0, who.pw_gid)
    return said


def remove(directory):
    for path in (directory, directory + '.new'):
        if os.path.isdir(path):
            # A backup without its description is none: half a removal leaves nothing that looks whole.
            if os.path.exists(os.path.join(path, 'backup.json')):
                os.unlink(os.path.join(path, 'backup.json'))
            shutil.rmtree(path)
    try:
        os.rmdir(os.path.dirname(directory))
    except OSError:
        pass  # There are other backups of the site.


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['present', 'checked', 'loaded', 'absent'], 'default': 'present'},
            'directory': {'type': 'path', 'required': True},
            'instance': {'type': 'path'},
            'user': {'type': 'str'},
            'operation': {'type': 'str'},
            'new_key': {'type': 'bool', 'default': False},
        },
        required_if=[('state', 'present', ['instance', 'user', 'operation']),
                     ('state', 'loaded', ['instance', 'user'])],
        supports_check_mode=True,
    )
    p = module.params
    state, directory = p['state'], p['directory']
    if not re.match(r'/.*/[0-9a-f]{12}(\.new)?\Z', directory):
        module.fail_json(msg='%s is not where a backup can be' % directory)
    try:
        if state == 'absent':
            said, changed = {}, os.path.isdir(directory) or os.path.isdir(directory + '.new')
            if changed and not module.check_mode:
                remove(directory)
        elif state == 'checked':
            said, changed = check(directory), False
        elif module.check_mode:
            said, changed = {}, True
        else:
            said = make(module, directory, p['instance']) if state == 'present' else load(module, directory, p['instance'])
            changed = True
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except (OSError, EOFError) as error:
        module.fail_json(msg='%s: %s' % (type(error).__name__, error))
    module.exit_json(changed=changed, backup=said)


if __name__ == '__main__':
    main()
