#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists what a directory below one of the backend's content roots holds, says it by a digest, and packs what is wanted of it.

Without `archive` it only reads: the list goes into the file `index`, a line of JSON for each directory, link and file.
With it, the files are packed that stand in the index, or those of them that `missing` names: a bit for each file, in the
index's order, in base64.

Every directory and file is opened relative to the one that holds it and without following links, so that
nobody who can write below the root can make this read something outside it, not even while it runs. Links are
packed as links; one that leads out of the directory is refused.
"""

import base64
import hashlib
import json
import os
import posixpath
import stat
import tarfile

from ansible.module_utils.basic import AnsibleModule

NOT_ALLOWED = 'source_not_allowed: '
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How much of a file is read at once.
PIECE = 1024 * 1024
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


def walk(descriptor, path, visitor):
    with os.scandir(descriptor) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        inner = posixpath.join(path, entry.name)
        if entry.is_symlink():
            visitor.link(inner, os.readlink(entry.name, dir_fd=descriptor))
        elif entry.is_dir(follow_symlinks=False):
            if visitor.directory(inner):
                below = os.open(entry.name, DIRECTORY, dir_fd=descriptor)
                try:
                    walk(below, inner, visitor)
                finally:
                    os.close(below)
        elif entry.is_file(follow_symlinks=False):
            visitor.file(inner, lambda: os.open(entry.name, FILE, dir_fd=descriptor))
        else:
            raise Refused(NOT_ALLOWED + '%s is neither a file, a directory nor a link' % inner)


def changed(path):
    return Refused('%s changed while it was read: deploy again' % path)


def regular(descriptor, path):
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(NOT_ALLOWED + '%s is not a file' % path)
    return found


class Listing:
    """Lists what is there. Of a file: kind, path, SHA-256, size, time."""

    def __init__(self):
        self.entries = []
        self.digest = hashlib.sha256()
        self.files = 0
        self.bytes = 0

    def note(self, *fields):
        # Each field with its length before it: no two directories give the same bytes.
        for field in fields:
            data = os.fsencode(field)
            self.digest.update(b'%d:' % len(data) + data)

    def directory(self, path):
        self.note('directory', path)
        self.entries.append(('directory', path))
        return True

    def link(self, path, target):
        reached = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if posixpath.isabs(target) or reached == '..' or reached.startswith('../'):
            raise Refused(NOT_ALLOWED + 'the link %s leads out of the source, to %s' % (path, target))
        self.note('link', path, target)
        self.entries.append(('link', path, target))

    def file(self, path, opened):
        with os.fdopen(opened(), 'rb', buffering=0) as content:
            found = regular(content.fileno(), path)
            content_digest, size = hashlib.sha256(), 0
            while True:
                data = content.read(PIECE)
                if not data:
                    break
                content_digest.update(data)
                size += len(data)
            if size != found.st_size:
                raise changed(path)
        kind, content_digest = 'program' if found.st_mode & 0o111 else 'file', content_digest.hexdigest()
        self.note(kind, path, content_digest)
        self.entries.append((kind, path, content_digest, size, int(found.st_mtime)))
        self.files += 1
        self.bytes += size


class Packing:
    """Packs what the index has, or the files of it that are missing somewhere."""

    def __init__(self, archive, index, missing):
        self.archive = archive
        self.whole = missing is None
        self.entries = {entry[1]: entry for entry in index}
        files = [entry for entry in index if entry[0] in ('file', 'program')]
        bits = base64.b64decode(missing or '')
        self.wanted = {entry[1]: entry for number, entry in enumerate(files)
                       if self.whole or bits[number // 8] >> number % 8 & 1}
        self.packed = 0

    def directory(self, path):
        if path in self.entries and self.whole:
            self.add(path, tarfile.DIRTYPE, 0o755)
        return True

    def link(self, path, target):
        if self.entries.get(path) != ['link', path, target]:
            raise changed(path)
        if self.whole:
            self.add(path, tarfile.SYMTYPE, 0o777, target)

    def file(self, path, opened):
        entry = self.wanted.get(path)
        if entry is None:
            return
        kind, _, expected, size, mtime = entry
        with os.fdopen(opened(), 'rb') as content:
            regular(content.fileno(), path)
            reader = Reader(content, size)
            # The times stay: a web server tells browsers by them whether a page is still the same.
            self.add(path, tarfile.REGTYPE, 0o755 if kind == 'program' else 0o644, size=size, mtime=mtime, content=reader)
            if reader.left or content.read(1) or reader.digest.hexdigest() != expected:
                raise changed(path)
        self.packed += 1

    def add(self, path, kind, mode, target='', size=0, mtime=0, content=None):
        member = tarfile.TarInfo(path)
        member.type, member.mode, member.linkname, member.size, member.mtime = kind, mode, target, size, mtime
        try:
            self.archive.addfile(member, content)
        except OSError as error:
            if content is not None and content.left and error.errno is None:
                raise changed(path)
            raise


class Reader:
    """Hashes what the archive takes from it."""

    def __init__(self, file, size):
        self.file = file
        self.left = size
        self.digest = hashlib.sha256()

    def read(self, size=-1):
        data = self.file.read(size)
        self.digest.update(data)
        self.left -= len(data)
        return data


def list_source(descriptor, module):
    listing = Listing()
    walk(descriptor, '', listing)
    if listing.files == 0:
        raise Refused('source: %s holds no file' % module.params['source'])
    if not module.check_mode:
        with open(module.params['index'], 'w') as index:
            for entry in listing.entries:
                index.write(json.dumps(entry) + '\n')
    return {'digest': listing.digest.hexdigest(), 'files': listing.files, 'bytes': listing.bytes}


def pack_source(descriptor, module):
    archive = module.params['archive']
    # Of another host that lacks the same.
    if os.path.exists(archive):
        return {}
    with open(module.params['index']) as index:
        entries = [json.loads(line) for line in index]
    with tarfile.open(archive + '.new', 'w', format=tarfile.GNU_FORMAT, encoding='utf-8',
                      errors='surrogateescape') as file:
        packing = Packing(file, entries, module.params['missing'])
        walk(descriptor, '', packing)
    if packing.packed != len(packing.wanted):
        raise Refused('%s changed while it was read: deploy again' % module.params['source'])
    os.rename(archive + '.new', archive)
    return {'files': packing.packed}


def main():
    module = AnsibleModule(
        argument_spec={
            'source': {'type': 'str', 'required': True},
            'roots': {'type': 'list', 'elements': 'str', 'required': True},
            'index': {'type': 'str', 'required': True},
            'archive': {'type': 'str'},
            'missing': {'type': 'str'},
        },
        supports_check_mode=True,
    )
    try:
        descriptor = open_source(module.params['source'], module.params['roots'])
        result = (pack_source if module.params['archive'] else list_source)(descriptor, module)
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except OSError as error:
        module.fail_json(msg='source: %s' % error)
    module.exit_json(changed=False, **result)


if __name__ == '__main__':
    main()
