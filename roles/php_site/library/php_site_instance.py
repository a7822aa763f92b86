#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the instances of one site beside each other, and the link `current` on one of them.

state=read says what is there. state=built makes an instance anew from a directory with code, with settings and a
password for its database. state=settings writes the settings of an instance again, state=recorded what is to hold where an
Operation says nothing else. state=current moves the link in one
step, or without an instance takes it away. state=absent removes an instance, or without one the whole site.
"""

import glob
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.php_site import Refused, Site, read_json, user_of, write
from ansible.module_utils.php_site_settings import native, put_settings, settings_of

def remove(site, name):
    """Out of sight first: an instance that is there is whole, and a removal that is stopped is taken up again."""
    gone = os.path.join(site.instances, '.removed-' + name)
    if os.path.isdir(gone):
        shutil.rmtree(gone)
    if os.path.isdir(site.instance(name)):
        os.rename(site.instance(name), gone)
        shutil.rmtree(gone)


def tidy(site):
    """Takes up removals that were stopped half-way."""
    for name in os.listdir(site.instances):
        if name.startswith('.removed-'):
            shutil.rmtree(os.path.join(site.instances, name))


def copy_code(source, code):
    subprocess.run(['cp', '-a', '--reflink=auto', '--', source + '/.', code], check=True, capture_output=True)
    subprocess.run(['chown', '-hR', 'root:root', '--', code], check=True, capture_output=True)


def link_writable(directory, paths, user):
    """What the application writes to lies in files/, and is linked to from where it looks for it in its code."""
    code, files = os.path.join(directory, 'code'), os.path.join(directory, 'files')
    for path in paths:
        inside, outside = os.path.join(code, path), os.path.join(files, path)
        if not (os.path.realpath(os.path.dirname(inside)) + os.sep).startswith(os.path.realpath(code) + os.sep):
            raise Refused('%s of the code leads out of it' % path)
        os.makedirs(os.path.dirname(outside), exist_ok=True)
        if os.path.islink(inside):
            os.unlink(inside)  # Of the instance that the code was copied from.
        if os.path.isdir(inside):
            os.rename(inside, outside)
        elif not os.path.exists(outside):
            os.mkdir(outside)
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        os.symlink(os.path.relpath(outside, os.path.realpath(os.path.dirname(inside))), inside)
    own_links(directory, paths, user)
    subprocess.run(['chown', '-hR', '%d:%d' % (user.pw_uid, user.pw_gid), '--', files], check=True,
                   capture_output=True)


def own_links(directory, paths, user):
    """The web server follows a link only to what belongs to the link's own owner."""
    for path in paths:
        link = os.path.join(directory, 'code', path)
        if os.path.islink(link):
            os.lchown(link, user.pw_uid, user.pw_gid)


def make_site(site, user):
    os.makedirs(site.instances, exist_ok=True)
    site.claim()
    for path in (site.directory, site.instances):
        os.chmod(path, 0o755)
    for name in ('tmp', 'log'):
        path = os.path.join(site.directory, name)
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
        os.chown(path, user.pw_uid, user.pw_gid)
    if not os.path.isdir(os.path.join(site.directory, 'tls')):
        os.mkdir(os.path.join(site.directory, 'tls'), 0o700)
    # Cron holds it while it works for the site, and whoever takes the site offline waits for it.
    lock = os.path.join(site.directory, 'cron.lock')
    if not os.path.exists(lock):
        write(lock, b'', 0o640, 0, user.pw_gid)


def built(module, site, name):
    p = module.params
    source = os.path.realpath(p['source'])
    if not os.path.isdir(source):
        raise Refused('platform_missing: there is no code in %s: deploy the platform on this host first' % p['source'])
    if site.current() == name:
        raise Refused('instance %s is the current one' % name)
    if module.check_mode:
        return {'changed': True, 'password_hash': native(''), 'directory': site.instance(name)}
    user = user_of(p['user'])
    site.exists()
    make_site(site, user)
    tidy(site)
    directory = site.instance(name)
    remove(site, name)  # Of an attempt that was stopped, or failed.
    os.mkdir(directory, 0o755)
    os.chmod(directory, 0o755)
    # First what it is: whoever sweeps a half-built instance finds its database by it.
    p['about']['release'] = p['about']['release'] or os.path.basename(source)
    if not source.startswith(site.instances + os.sep):
        p['about']['source'] = source
    describe(directory, p['about'])
    tell_name(directory)
    code = os.path.join(directory, 'code')
    os.mkdir(code, 0o755)
    copy_code(source, code)
    os.mkdir(os.path.join(directory, 'files'), 0o755)
    link_writable(directory, p['writable_paths'], user)
    password = secrets.token_urlsafe(32)
    settings = settings_of(directory, p['about'], password, secrets.token_hex(32), p['environment'])
    put_settings(directory, user, p['about'], settings)
    return {'changed': True, 'password_hash': native(password), 'directory': directory}


def tell_name(directory):
    """Apache can't read where a link leads, and so reads below `current` which instance it is."""
    path = os.path.join(directory, 'name')
    if text(path) == os.path.basename(directory):
        return False
    write(path, os.path.basename(directory))
    return True


def describe(directory, about):
    # Nobody else's: the site's own environment stands in it.
    write(os.path.join(directory, 'instance.json'), json.dumps(about, indent=2, sort_keys=True) + '\n', 0o600)


def recorded(module, site, name):
    """Of the current instance; what it was built with stays, whatever the variable says by now."""
    before = site.about(name)
    if before is None:
        raise Refused('%s is not whole: restore the site from a backup' % site.instance(name))
    after = dict(before, **module.params['about'])
    after['variables'] = dict(after['variables'], writable_paths=before['writable_paths'])
    if after != before and not module.check_mode:
        describe(site.instance(name), after)
    return {'changed': after != before}


def checked(module, site, name):
    """Refuses code that can't answer anybody, before anything is done for it."""
    p = module.params
    source = os.path.realpath(p['source'])
    if not os.path.isdir(source):
        raise Refused('platform_missing: there is no code in %s: deploy the platform on this host first. Nothing was changed'
                      % p['source'])
    front = os.path.join(source, p['front'])
    if not os.path.isfile(front):
        raise Refused('codebase_broken: the code in %s has no %s: deploy the platform again, or name the document_root that '
                      'it has. Nothing was changed' % (source, p['front']))
    if not os.path.exists(p['php']):
        return {'changed': False}  # The first page will show it.
    said = subprocess.run([p['php'], '-n', '-d', 'display_errors=1', '-l', front], capture_output=True, cwd='/')
    if said.returncode != 0:
        raise Refused('codebase_broken: PHP does not take the code in %s: %s. Nothing was changed'
                      % (source, said.stdout.decode('utf-8', 'replace').strip()[:1000]))
    return {'changed': False}


def settings(module, site, name):
    directory = site.instance(name)
    about = site.about(name)
    before = read_json(os.path.join(directory, 'settings', 'settings.json'))
    if about is None or before is None:
        raise Refused('%s is not whole: restore the site from a backup' % directory)
    after = settings_of(directory, about, before['DB_PASSWORD'], before['SITE_KEY'], module.params['environment'])
    if module.check_mode:
        return {'changed': before != after, 'directory': directory}
    site.claim()
    tidy(site)
    user = user_of(module.params['user'])
    own_links(directory, about['writable_paths'], user)  # Of an instance that was built when links were root's.
    named = tell_name(directory)  # Of an earlier version.
    return {'changed': put_settings(directory, user, about, after) or named, 'directory': directory}


def current(module, site, name):
    previous = site.current()
    if name is None:
        if previous is not None and not module.check_mode:
            os.unlink(site.link)
            os.sync()
        return {'changed': previous is not None, 'previous': previous}
    if module.check_mode:
        return {'changed': previous != name, 'previous': previous, 'directory': site.instance(name)}
    if previous != name:
        if not os.path.isdir(site.instance(name)):
            raise Refused('there is no instance %s' % site.instance(name))
        # On the disk before it is current: after a power cut the site is whole.
        os.sync()
        beside = site.link + '.new'
        if os.path.lexists(beside):
            os.unlink(beside)
        os.symlink(os.path.join('instances', name), beside)
        os.rename(beside, site.link)
    # And the switch is, before what was current goes: also one that an attempt made which was stopped just then.
    os.sync()
    return {'changed': previous != name, 'previous': previous, 'directory': site.instance(name)}


def absent(module, site, name):
    if name is not None:
        gone = os.path.join(site.instances, '.removed-' + name)
        changed = os.path.isdir(site.instance(name)) or os.path.isdir(gone)
        if site.current() == name:
            raise Refused('instance %s is the current one' % name)
        if changed and not module.check_mode:
            remove(site, name)
        return {'changed': changed}
    # A name may be as long as a file's name can be.
    doomed = os.path.join(os.path.dirname(site.directory), '.aegir-removed-' + os.path.basename(site.directory)
                          if len(os.path.basename(site.directory)) <= 200
                          else '.aegir-removed-' + hashlib.sha256(site.directory.encode()).hexdigest())
    changed = site.exists() or os.path.isdir(doomed)
    if changed and not module.check_mode:
        if os.path.isdir(doomed):
            shutil.rmtree(doomed)
        if site.exists():
            os.rename(site.directory, doomed)
            shutil.rmtree(doomed)
    return {'changed': changed}


def fpms():
    """Each version of php-fpm from Debian's packages that has a directory for pools, the newest last, and whether it is
    installed: a package that was removed but not purged leaves the directory."""
    found = (re.match(r'/etc/php/(\d+)\.(\d+)/fpm/pool\.d\Z', path) for path in glob.glob('/etc/php/*/fpm/pool.d'))
    versions = ['%d.%d' % version for version in sorted((int(match[1]), int(match[2])) for match in found if match)]
    return {version: os.access('/usr/sbin/php-fpm' + version, os.X_OK) for version in versions}


def only_here(site, user):
    """Below two roots a name would be two directories, with one user, pool and virtual host."""
    try:
        home = user and pwd.getpwnam(user).pw_dir
    except KeyError:
        return
    if home and home != site.directory and os.path.isdir(home):
        raise Refused('site_taken: %s is on this host already, in %s: %s can\'t be one as well. Name the root that it has, '
                      'or delete it there. Nothing was changed'
                      % (os.path.basename(site.directory), home, site.directory))


def known(site, name, about):
    """What an instance is, with what one of an earlier version did not say of itself."""
    if about and 'variables' not in about:
        about['variables'] = {'writable_paths': about.get('writable_paths', [])}
        file = '/etc/nginx/sites-available/aegir-%s.conf' % os.path.basename(site.directory)
        served = re.search(r'^ *root /.*/current/code/?(.*);$', text(file), re.MULTILINE)
        certificate = re.search(r'/tls/([0-9a-f]{16})/certificate\.pem;$', text(file), re.MULTILINE)
        about['variables'].update({'document_root': served[1]} if served else {})
        about['variables'].update({'certificate': certificate[1]} if certificate else {})
    # The platform's release is root's alone; the instance's copy may have been damaged since it was made of it.
    source = about.get('source')
    about['code_source'] = source if source and os.path.isdir(source) else None
    return about


def text(path):
    try:
        with open(path, encoding='utf-8') as file:
            return file.read()
    except (FileNotFoundError, UnicodeDecodeError):
        return ''


def read(module, site, name):
    there = site.exists()
    offline = site.offline() if there else None
    file = module.params['file']
    content = None
    if file is not None and os.path.isfile(file):
        with open(file, encoding='utf-8') as opened:
            content = opened.read()
    only_here(site, module.params['user'])
    versions = fpms()
    installed = [version for version in versions if versions[version]]
    return {'changed': False, 'exists': there, 'current': site.current() if there else None,
            'instances': {name: known(site, name, about) for name, about in site.all().items()} if there else {},
            'ipv6': os.path.exists('/proc/net/if_inet6'), 'offline': offline or {}, 'fpms': versions,
            'php': installed[-1] if installed else None, 'file': content}


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['read', 'checked', 'built', 'settings', 'recorded', 'current', 'absent'],
                      'required': True},
            'directory': {'type': 'path', 'required': True},
            # The frontend's id of the site: of another one's directory nothing is told, and nothing is changed there.
            'target': {'type': 'str'},
            'instance': {'type': 'str'},
            # Of state=read: whose home must be this site's directory, when there is such a user.
            'user': {'type': 'str'},
            # Of state=read: one more file whose content is wanted.
            'file': {'type': 'path'},
            'source': {'type': 'path'},
            # Of state=checked: the program of PHP, and what visitors come by, within the code.
            'php': {'type': 'path'},
            'front': {'type': 'str'},
            'about': {'type': 'dict'},
            'writable_paths': {'type': 'list', 'elements': 'str', 'default': []},
            'environment': {'type': 'dict', 'default': {}},
        },
        required_if=[('state', 'built', ['target', 'instance', 'user', 'source', 'about']),
                     ('state', 'settings', ['target', 'instance', 'user']),
                     ('state', 'checked', ['source', 'php', 'front']),
                     ('state', 'recorded', ['target', 'instance', 'about'])],
        supports_check_mode=True,
    )
    site = Site(module.params['directory'], module.params['target'])
    states = {'read': read, 'checked': checked, 'built': built, 'settings': settings, 'recorded': recorded,
              'current': current, 'absent': absent}
    try:
        result = states[module.params['state']](module, site, module.params['instance'])
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg='%s: %s' % (' '.join(error.cmd[:3]), error.stderr.decode('utf-8', 'replace').strip()))
    except OSError as error:
        module.fail_json(msg='%s: %s' % (error.filename, error.strerror))
    module.exit_json(**result)


if __name__ == '__main__':
    main()
