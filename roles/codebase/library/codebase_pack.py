#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs a directory below one of the backend's content roots, and says what it holds by a digest.

Every directory and file is opened relative to the one that holds it and without following links, so that
nobody who can write below the root can make this read something outside it, not even while it runs. Links are
packed as links; one that leads out of the directory is refused.
"""

import hashlib
import os
import posixpath
import stat
import tarfile

from ansible.module_utils.basic import AnsibleModule

NOT_ALLOWED = 'source_not_allowed: '
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Refused(Exception):
    """The source is not what it has to be; the text is for people."""


def open_source(source, roots):
    """The descriptor of the source's directory, reached from its root without a link."""
    if not posixpath.isabs(source) or '..' in source.split('/'):
        raise Refused(NOT_ALLOWED + '%s is not a plain absolute path' % source)
    normal = posixpath.normpath(source)
    for root in roots:
        prefix = posixpath.normpath(root).rstrip('/') + '/'
        if normal.startswith(prefix):
            return descend(prefix, normal[len(prefix):].split('/'))
    raise Refused(NOT_ALLOWED + '%s does not lie below one of the content roots that the backend allows (%s)'
                  % (source, ', '.join(roots) or 'it has none'))


def descend(root, parts):
    try:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused('the content root %s can\'t be opened: %s' % (root, error.strerror))
    path = root.rstrip('/')
    for part in parts:
        path += '/' + part
        try:
            below = os.open(part, DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            raise Refused('source: there is no directory %s' % path)
        except OSError as error:
            raise Refused(NOT_ALLOWED + '%s is a link or not a directory (%s)' % (path, error.strerror))
        finally:
            os.close(directory)
        directory = below
    return directory


class Pack:
    def __init__(self, archive):
        self.archive = archive
        self.digest = hashlib.sha256()
        self.files = 0
        self.bytes = 0

    def note(self, *fields):
        # Each field with its length before it: no two directories give the same bytes.
        for field in fields:
            data = os.fsencode(field)
            self.digest.update(b'%d:' % len(data) + data)

    def directory(self, descriptor, path):
        for name in sorted(os.listdir(descriptor), key=os.fsencode):
            inner = posixpath.join(path, name)
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                self.link(inner, os.readlink(name, dir_fd=descriptor), found)
            elif stat.S_ISDIR(found.st_mode):
                self.note('directory', inner)
                self.add(inner, found, tarfile.DIRTYPE, 0o755)
                below = os.open(name, DIRECTORY, dir_fd=descriptor)
                try:
                    self.directory(below, inner)
                finally:
                    os.close(below)
            elif stat.S_ISREG(found.st_mode):
                self.file(os.open(name, FILE, dir_fd=descriptor), inner)
            else:
                raise Refused(NOT_ALLOWED + '%s is neither a file, a directory nor a link' % inner)

    def link(self, path, target, found):
        reached = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if posixpath.isabs(target) or reached == '..' or reached.startswith('../'):
            raise Refused(NOT_ALLOWED + 'the link %s leads out of the source, to %s' % (path, target))
        self.note('link', path, target)
        self.add(path, found, tarfile.SYMTYPE, 0o777, target)

    def file(self, descriptor, path):
        with os.fdopen(descriptor, 'rb') as content:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(NOT_ALLOWED + '%s is not a file' % path)
            executable = found.st_mode & 0o111 != 0
            reader = Reader(content)
            self.add(path, found, tarfile.REGTYPE, 0o755 if executable else 0o644, content=reader)
            if reader.size != found.st_size or content.read(1):
                raise Refused('%s changed while it was read: deploy again' % path)
            self.note('program' if executable else 'file', path, reader.digest.hexdigest())
            self.files += 1
            self.bytes += found.st_size

    def add(self, path, found, kind, mode, target='', content=None):
        member = tarfile.TarInfo(path)
        member.type, member.mode, member.linkname = kind, mode, target
        # The times stay: a web server tells browsers by them whether a page is still the same.
        member.mtime = int(found.st_mtime)
        member.size = found.st_size if content else 0
        try:
            self.archive.addfile(member, content)
        except OSError as error:
            if content is not None and content.size < member.size and error.errno is None:
                raise Refused('%s changed while it was read: deploy again' % path)
            raise


class Reader:
    """Hashes what the archive takes from it."""

    def __init__(self, file):
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size=-1):
        data = self.file.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data


class Nowhere:
    """Takes an archive that nobody needs, as in a dry run."""

    def write(self, data):
        return len(data)


def main():
    module = AnsibleModule(
        argument_spec={
            'source': {'type': 'str', 'required': True},
            'roots': {'type': 'list', 'elements': 'str', 'required': True},
            'archive': {'type': 'str', 'required': True},
        },
        supports_check_mode=True,
    )
    try:
        descriptor = open_source(module.params['source'], module.params['roots'])
    except Refused as refused:
        module.fail_json(msg=str(refused))
    options = {'format': tarfile.GNU_FORMAT, 'encoding': 'utf-8', 'errors': 'surrogateescape'}
    try:
        if module.check_mode:
            archive = tarfile.open(fileobj=Nowhere(), mode='w|', **options)
        else:
            archive = tarfile.open(module.params['archive'], 'w:gz', compresslevel=1, **options)
        with archive:
            pack = Pack(archive)
            pack.directory(descriptor, '')
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except OSError as error:
        module.fail_json(msg='source: %s' % error)
    if pack.files == 0:
        module.fail_json(msg='source: %s holds no file' % module.params['source'])
    module.exit_json(changed=False, digest=pack.digest.hexdigest(), files=pack.files, bytes=pack.bytes)


if __name__ == '__main__':
    main()
