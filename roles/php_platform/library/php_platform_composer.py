#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs what the composer.lock of some code names, as a user whom there is only meanwhile.

Plug-ins of composer are code of the source, and do what they like as their user. So the user is nobody else's and works
on a copy; afterwards it is gone, with all that it has started and has left elsewhere. What it has made of the code is
copied back file by file: nobody holds one of these open.

state=absent only removes what an attempt that was stopped has left.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule

PATIENCE = 60
# Where every user may leave something. The next user of that number would own it, and cron would work for it.
EVERYBODYS = ['/tmp', '/var/tmp', '/dev/shm', '/run/lock', '/var/lib/php/sessions', '/var/spool/cron/crontabs',
              '/var/spool/cron/atjobs']
SAID = 64 * 1024


class Refused(Exception):
    """Something is not as it has to be; the text is for people."""


def done(words):
    subprocess.run(words, check=True, capture_output=True)


def id_of(name):
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def runs(uid):
    """Whether any process is of that user, in any of its four ways, and does anything any more."""
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%s/status' % name) as status:
                said = {line.split(':')[0]: line.split()[1:] for line in status if ':' in line}
            # Of one that has ended, and that nobody has waited for, only the number is left.
            if name.isdigit() and str(uid) in said.get('Uid', []) and said['State'][0] != 'Z':
                return True
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            pass
    return False


def end(uid):
    """Ends all processes of the user at once, as only that user itself can: one that forks all the time would get away
    from whoever ends one after the other."""
    deadline = time.monotonic() + PATIENCE
    while runs(uid):
        if time.monotonic() > deadline:
            raise Refused('processes of user %d do not end' % uid)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(uid)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.1)


def forget(uid):
    """Removes what the user has left where everybody may, and follows no link there."""
    for place in filter(os.path.isdir, EVERYBODYS):
        for _, directories, files, at in os.fwalk(place, topdown=False):
            for name in directories + files:
                try:
                    about = os.stat(name, dir_fd=at, follow_symlinks=False)
                    if about.st_uid != uid:
                        continue
                    if stat.S_ISDIR(about.st_mode):
                        os.rmdir(name, dir_fd=at)
                    else:
                        os.unlink(name, dir_fd=at)
                except OSError:
                    pass  # It went by itself, or others have put something into it.


def clean(user, work):
    """Says whether there was anything of an attempt."""
    uid = id_of(user)
    if uid is not None:
        end(uid)
        forget(uid)
        done(['userdel', user])
    there = os.path.isdir(work)
    if there:
        shutil.rmtree(work)
    return there or uid is not None


def prepare(user, work, code):
    """The user, and its copy of the code. Nobody else gets in there."""
    done(['useradd', '--system', '--user-group', '--no-create-home', '--home-dir', os.path.join(work, 'home'),
          '--shell', '/usr/sbin/nologin', user])
    os.mkdir(work, 0o711)
    os.chmod(work, 0o711)
    for name in ('code', 'home', 'tmp'):
        os.mkdir(os.path.join(work, name), 0o700)
    done(['cp', '-a', '--reflink=auto', '--', code + '/.', os.path.join(work, 'code')])
    done(['chown', '-hR', '%s:%s' % (user, user), '--'] + [os.path.join(work, name) for name in ('code', 'home', 'tmp')])
    os.chmod(os.path.join(work, 'code'), 0o700)


def compose(user, work):
    """Gives what composer has said at last. It speaks into a file: a pipe would be held open by what it leaves running."""
    home = os.path.join(work, 'home')
    environment = dict(os.environ, HOME=home, COMPOSER_HOME=home, TMPDIR=os.path.join(work, 'tmp'), LC_ALL='C.UTF-8',
                       COMPOSER_MAX_PARALLEL_HTTP='4')
    words = ['runuser', '-u', user, '--', 'composer', 'install', '--no-dev', '--no-interaction', '--no-progress',
             '--no-ansi', '--no-scripts', '--prefer-dist', '--optimize-autoloader']
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                              env=environment, cwd=os.path.join(work, 'code'), umask=0o022).returncode
        output.seek(max(0, os.fstat(output.fileno()).st_size - SAID))
        said = output.read().decode('utf-8', 'replace').strip()
    if code != 0:
        raise Refused('composer failed with %d: %s' % (code, said[-2000:]))
    return said


def taken(source, target, uid):
    """Copies what the user has made of the code: files, directories, and links that stay within it."""
    os.mkdir(target, 0o755)
    os.chmod(target, 0o755)
    links = []
    for place, directories, files, at in os.fwalk(source):
        for name in directories + files:
            inside = os.path.relpath(os.path.join(place, name), source)
            path = os.path.join(target, inside)
            about = os.stat(name, dir_fd=at, follow_symlinks=False)
            if stat.S_ISLNK(about.st_mode):
                # Made at the very end, so that nothing is ever written through one.
                links.append((inside, os.readlink(name, dir_fd=at)))
            elif stat.S_ISDIR(about.st_mode):
                os.mkdir(path, 0o755)
                os.chmod(path, 0o755)
            elif stat.S_ISREG(about.st_mode) and about.st_uid == uid:
                with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at), 'rb') as old, open(path, 'xb') as new:
                    shutil.copyfileobj(old, new, 1024 * 1024)
                os.chmod(path, 0o755 if about.st_mode & 0o111 else 0o644)
                os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            else:
                raise Refused('composer has made %s, which is neither a file of its own, a directory nor a link' % inside)
    for inside, to in links:
        os.symlink(to, os.path.join(target, inside))
    for inside, to in links:
        path = os.path.realpath(os.path.join(target, inside))
        if os.path.isabs(to) or not (path + os.sep).startswith(os.path.realpath(target) + os.sep):
            raise Refused('composer has made the link %s, which leads out of the code, to %s' % (inside, to))


def install(user, work, code):
    if shutil.which('composer') is None:
        raise Refused('the code has a composer.lock, and there is no composer on this host: install it (minion.setup with '
                      'tools composer), deploy code that has its vendor directory, or set composer to false')
    built = code + '-built'
    try:
        prepare(user, work, code)
        said = compose(user, work)
        uid = id_of(user)
        end(uid)
        if os.path.isdir(built):
            shutil.rmtree(built)
        taken(os.path.join(work, 'code'), built, uid)
    except BaseException as error:
        if os.path.isdir(built):
            shutil.rmtree(built)
        try:
            clean(user, work)
        except Refused as left:
            raise Refused('%s; and then: %s' % (error, left))
        raise
    clean(user, work)
    shutil.rmtree(code)
    os.rename(built, code)
    return said


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['present', 'absent'], 'default': 'present'},
            'user': {'type': 'str', 'required': True},
            # A directory of its own meanwhile, on the code's file system.
            'work': {'type': 'path', 'required': True},
            'code': {'type': 'path'},
        },
        required_if=[('state', 'present', ['code'])],
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=p['state'] == 'present' or id_of(p['user']) is not None)
    try:
        changed = clean(p['user'], p['work'])
        said = install(p['user'], p['work'], p['code']) if p['state'] == 'present' else ''
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg='%s: %s' % (error.cmd[0], error.stderr.decode('utf-8', 'replace').strip()))
    except OSError as error:
        module.fail_json(msg='%s: %s' % (error.filename, error.strerror))
    module.exit_json(changed=changed or p['state'] == 'present', stdout=said)


if __name__ == '__main__':
    main()
