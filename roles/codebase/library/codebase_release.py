#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the releases of one site beside each other, and the link `current` on one of them.

    <directory>/.aegir-site          says that the directory is a site's, so that nothing else is removed
    <directory>/releases/<release>/
    <directory>/releases/.archive-<release>   what a release is made of; gone afterwards
    <directory>/current -> releases/<release>

state=prepared makes the directories and says where the archive goes, state=seeded begins a release with what the current
one has of it and says what is missing, state=unpacked unpacks the archive beside, for those who build something in it first,
state=present unpacks it if need be and moves the link in one step, state=absent removes the site.
"""

import base64
import hashlib
import json
import os
import posixpath
import re
import shutil
import stat
import tarfile
import zipfile

from ansible.module_utils.basic import AnsibleModule

MARKER = '.aegir-site'
NOT_ALLOWED = 'source_not_allowed: '
MAX_MEMBERS = 1000000
MAX_BYTES = 64 * 1024 ** 3
# How much of a file is read at once.
PIECE = 1024 * 1024


class Refused(Exception):
    """Something is not as it has to be; the text is for people."""


class Site:
    def __init__(self, directory):
        self.directory = directory
        self.releases = os.path.join(directory, 'releases')
        self.current = os.path.join(directory, 'current')
        self.marker = os.path.join(directory, MARKER)

    def exists(self):
        """Whether it is there; refuses a directory that is not a site's."""
        if os.path.islink(self.directory):
            raise Refused('%s is a link: a site has a directory of its own' % self.directory)
        if not os.path.lexists(self.directory):
            return False
        if not os.path.isfile(self.marker) and os.listdir(self.directory):
            raise Refused('%s is there already and is no site: it has no %s. Choose another root, or move it away'
                          % (self.directory, MARKER))
        return True

    def make(self):
        os.makedirs(self.releases, mode=0o755, exist_ok=True)
        if not os.path.exists(self.marker):
            with open(self.marker, 'w') as marker:
                marker.write(json.dumps({'site': os.path.basename(self.directory)}) + '\n')
        # Whatever the umask is: the web server's user has to get through.
        for path in (self.directory, self.releases):
            os.chmod(path, 0o755)

    def release(self, name):
        return os.path.join(self.releases, name)

    def archive(self, name):
        return os.path.join(self.releases, '.archive-' + name)

    def index(self, name):
        """What a release that was begun with another one's files is to hold: see codebase_pack."""
        return os.path.join(self.releases, '.index-' + name)

    def incoming(self, name):
        return os.path.join(self.releases, '.incoming-' + name)

    def current_release(self):
        try:
            return os.path.basename(os.readlink(self.current))
        except OSError:
            return None

    def switch(self, name):
        beside = self.current + '.new'
        if os.path.lexists(beside):
            os.unlink(beside)
        os.symlink(posixpath.join('releases', name), beside)
        os.rename(beside, self.current)

    def prune(self, keep):
        """Removes the releases that were current longest ago; the time of a release is when it last became so."""
        names = [name for name in os.listdir(self.releases) if not name.startswith('.')]
        names.sort(key=lambda name: os.stat(self.release(name)).st_mtime_ns, reverse=True)
        current = self.current_release()
        spare = [name for name in names if name != current][max(keep - 1, 0):]
        for name in spare:
            # Out of sight first: a release that is there is whole.
            gone = os.path.join(self.releases, '.removed-' + name)
            os.rename(self.release(name), gone)
            shutil.rmtree(gone)
        return spare

    def sweep(self):
        """Removes what an attempt that was stopped has left."""
        for name in os.listdir(self.releases):
            path = os.path.join(self.releases, name)
            if name.startswith('.') and os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif name.startswith('.'):
                os.unlink(path)


def unpack(archive, directory):
    """Unpacks a tar or zip archive so that nothing lands or leads outside the directory."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, encoding='utf-8', errors='surrogateescape') as members:
            each(directory, ((member.name, kind(member), member.mode, member.mtime, member.size, member.linkname,
                              (lambda member=member: members.extractfile(member))) for member in members))
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            each(directory, (zipped(members, member) for member in members.infolist()))
    else:
        raise Refused('source: this is neither a tar nor a zip archive')


def kind(member):
    if member.isdir():
        return 'directory'
    if member.isreg():
        return 'file'
    if member.issym():
        return 'link'
    return 'other'


def zipped(members, member):
    mode = member.external_attr >> 16
    shape = 'directory' if member.is_dir() else 'link' if stat.S_ISLNK(mode) else 'file'
    target = os.fsdecode(members.read(member)) if shape == 'link' and member.file_size < 4096 else ''
    return member.filename, shape, mode, None, member.file_size, target, (lambda: members.open(member))


def each(directory, members):
    count = size = 0
    links = []
    made = set()
    for name, shape, mode, mtime, length, target, content in members:
        count, size = count + 1, size + length
        if count > MAX_MEMBERS or size > MAX_BYTES:
            raise Refused('source: the archive holds more than %d files or %d bytes' % (MAX_MEMBERS, MAX_BYTES))
        parts = [part for part in name.split('/') if part not in ('', '.')]
        if name.startswith('/') or '..' in parts or '\0' in name:
            raise Refused(NOT_ALLOWED + 'the archive holds %r, which leads out of it' % name)
        if shape == 'other':
            raise Refused(NOT_ALLOWED + '%r in the archive is neither a file, a directory nor a link' % name)
        if not parts:
            continue
        path = os.path.join(directory, *parts)
        above = path if shape == 'directory' else os.path.dirname(path)
        if above not in made:
            os.makedirs(above, mode=0o755, exist_ok=True)
            made.add(above)
        if shape == 'link':
            # Made at the very end, so that nothing is ever written through one.
            links.append((path, target))
        elif shape == 'file':
            with content() as source, create(path, mode & 0o111) as file:
                shutil.copyfileobj(source, file, PIECE)
            if mtime is not None:
                os.utime(path, (mtime, mtime))
    make_links(directory, links)


def create(path, is_program):
    """Opens a new file; a later member of an archive takes the place of an earlier one of the same name."""
    flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755 if is_program else 0o644
    try:
        return os.fdopen(os.open(path, flags, mode), 'wb')
    except FileExistsError:
        os.unlink(path)
        return os.fdopen(os.open(path, flags, mode), 'wb')


def make_links(directory, links):
    for path, target in links:
        if os.path.lexists(path):
            raise Refused('source: the archive holds %s twice' % os.path.relpath(path, directory))
        os.symlink(target, path)
    inside = os.path.realpath(directory) + os.sep
    for path, target in links:
        if os.path.isabs(target) or not (os.path.realpath(path) + os.sep).startswith(inside):
            raise Refused(NOT_ALLOWED + 'the link %s leads out of the source, to %s'
                          % (os.path.relpath(path, directory), target))


def indexed(site, name):
    """The entries of the index of a release, if it has one."""
    try:
        with open(site.index(name)) as index:
            return [json.loads(line) for line in index]
    except FileNotFoundError:
        return None


def begin(site, name):
    """An empty directory for a release that has no name yet."""
    incoming = site.incoming(name)
    if os.path.isdir(incoming):
        shutil.rmtree(incoming)  # Of an attempt that was stopped.
    os.mkdir(incoming, 0o755)
    return incoming


def seed(site, name):
    """Begins a release with the files that the current one has too; a bit for each file of the index that it has not."""
    incoming, current = begin(site, name), site.release(site.current_release() or '.')
    entries = indexed(site, name)
    files = [entry for entry in entries if entry[0] in ('file', 'program')]
    for entry in entries:
        if entry[0] == 'directory':
            os.mkdir(os.path.join(incoming, entry[1]), 0o755)
    missing = bytearray((len(files) + 7) // 8)
    for number, (shape, path, digest, size, mtime) in enumerate(files):
        if not copied(os.path.join(current, path), os.path.join(incoming, path), shape == 'program', digest, size, mtime):
            missing[number // 8] |= 1 << number % 8
    return base64.b64encode(missing).decode() if any(missing) else ''


def copied(source, path, is_program, digest, size, mtime):
    """Copies a file if it is the one that is meant: by its content, not by its time."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, 'rb', buffering=0) as old:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        seen = hashlib.sha256()
        with create(path, is_program) as new:
            for piece in iter(lambda: old.read(PIECE), b''):
                seen.update(piece)
                new.write(piece)
    if seen.hexdigest() != digest:
        os.unlink(path)
        return False
    os.utime(path, (mtime, mtime))
    return True


def complete(site, name, entries):
    """Makes the links of a release that was begun with another one's files, and sees that nothing is missing."""
    incoming = site.incoming(name)
    for entry in entries:
        path = os.path.join(incoming, entry[1])
        if entry[0] in ('file', 'program') and not (os.path.isfile(path) and os.stat(path).st_size == entry[3]):
            raise Refused('%s of release %s did not arrive' % (entry[1], name))
    make_links(incoming, [(os.path.join(incoming, entry[1]), entry[2]) for entry in entries if entry[0] == 'link'])


def beside(site, name):
    """Unpacks the archive of a release where it has no name yet."""
    archive = site.archive(name)
    entries = indexed(site, name)
    if entries is None and not os.path.isfile(archive):
        raise Refused('the archive of release %s did not arrive' % name)
    incoming = begin(site, name) if entries is None else site.incoming(name)
    if os.path.isfile(archive):
        unpack(archive, incoming)
    if entries is not None:
        complete(site, name, entries)


def build(site, name, unpacked):
    """Makes a release: whole, or not at all."""
    if not unpacked:
        beside(site, name)
    # On the disk before it has its name: after a power cut a release that is there is whole.
    os.sync()
    os.rename(site.incoming(name), site.release(name))


def prepared(module, site, name):
    there = site.exists()
    exists = there and os.path.isdir(site.release(name))
    if not there and not module.check_mode:
        site.make()
    # Of an attempt that was stopped: without it the archive is whole.
    if there and not module.check_mode and os.path.exists(site.index(name)):
        os.unlink(site.index(name))
    return {'changed': not there, 'exists': exists, 'archive': site.archive(name), 'index': site.index(name),
            'current': site.current_release() is not None}


def unpacked(module, site, name):
    exists = site.exists() and os.path.isdir(site.release(name))
    if not exists and not module.check_mode:
        site.make()
        try:
            beside(site, name)
        except BaseException:
            site.sweep()
            raise
    return {'changed': not exists, 'exists': exists, 'directory': site.incoming(name)}


def present(module, site, name, keep):
    there = site.exists()
    previous = site.current_release()
    built = there and os.path.isdir(site.release(name))
    changed = not built or previous != name
    subject = os.path.basename(site.directory)
    if changed:
        text = '%s goes from release %s to %s' % (subject, previous, name) if previous else \
            '%s gets its first release, %s' % (subject, name)
    else:
        text = '%s is at release %s already: nothing changes' % (subject, name)
    result = {'changed': changed, 'release': name, 'previous': previous, 'removed': [], 'msg': text}
    if module.check_mode:
        return result
    site.make()
    if not built:
        try:
            build(site, name, module.params['unpacked'])
        except BaseException:
            site.sweep()
            raise
    if changed:
        os.utime(site.release(name))
        site.switch(name)
    site.sweep()
    result['removed'] = site.prune(keep)
    result['changed'] = changed or bool(result['removed'])
    return result


def absent(module, site):
    # Renamed first: a removal that is stopped half-way is taken up by the next attempt.
    # A name may be as long as a file's name can be.
    doomed = os.path.join(os.path.dirname(site.directory), '.aegir-removed-' + os.path.basename(site.directory)
                          if len(os.path.basename(site.directory)) <= 200
                          else '.aegir-removed-' + hashlib.sha256(site.directory.encode()).hexdigest())
    changed = os.path.isdir(doomed)
    if changed and not module.check_mode:
        shutil.rmtree(doomed)
    if site.exists():
        changed = True
        if not module.check_mode:
            os.rename(site.directory, doomed)
            shutil.rmtree(doomed)
    return {'changed': changed}


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['prepared', 'seeded', 'unpacked', 'present', 'absent'],
                      'default': 'present'},
            'directory': {'type': 'path', 'required': True},
            'release': {'type': 'str'},
            'keep': {'type': 'int', 'default': 5},
            # Whether state=unpacked has come before.
            'unpacked': {'type': 'bool', 'default': False},
        },
        required_if=[('state', state, ['release']) for state in ('prepared', 'seeded', 'unpacked', 'present')],
        supports_check_mode=True,
    )
    state, name = module.params['state'], module.params['release']
    # Whatever the login's is: the web server's user has to get through.
    os.umask(0o022)
    if name is not None and not re.match(r'[0-9a-z]{1,64}\Z', name):
        module.fail_json(msg='%r is not the name of a release' % name)
    site = Site(module.params['directory'])
    try:
        if state == 'prepared':
            result = prepared(module, site, name)
        elif state == 'seeded':
            result = {'changed': False, 'missing': seed(site, name)}
        elif state == 'unpacked':
            result = unpacked(module, site, name)
        elif state == 'present':
            result = present(module, site, name, module.params['keep'])
        else:
            result = absent(module, site)
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        module.fail_json(msg='%s: %s' % (type(error).__name__, error))
    module.exit_json(**result)


if __name__ == '__main__':
    main()
