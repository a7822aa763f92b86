#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a server read one file, such as a virtual host, or not.

The file is written, the server's own test is run over all that it reads, and only then is the server told to
reload; if the test fails, the file is as it was before. A mark beside the file is there from before the change
until after the reload: an attempt that was stopped in between leaves it, and the next one reloads.

A server whose process is named and does not run is not told to reload: Apache would start, out of sight of the host's
init. A file goes then without test and reload.
"""

import glob
import os

from ansible.module_utils.basic import AnsibleModule

PLACES = ['/usr/sbin', '/usr/local/sbin', '/sbin']


def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path, content):
    """Sets the file's content in one step; None removes it."""
    if content is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    beside = path + '.new'
    with open(beside, 'wb') as file:
        file.write(content)
        os.fsync(file.fileno())
    os.chmod(beside, 0o644)
    os.rename(beside, path)


def command(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None  # It has ended.


class ServerFile:
    def __init__(self, module):
        self.module = module
        self.path = module.params['path']
        self.link = module.params['link']
        self.mark = self.path + '.reload'
        self.before = read(self.path)
        self.linked_before = self.link is not None and os.path.lexists(self.link)
        absent = module.params['state'] == 'absent'
        self.after = None if absent else module.params['content'].encode('utf-8')

    def linked(self):
        try:
            return os.readlink(self.link) == self.path
        except OSError:
            return False

    def differs(self):
        if self.before != self.after or os.path.exists(self.mark):
            return True
        if self.link is None:
            return False
        return self.linked_before if self.after is None else not self.linked()

    def set(self, content, linked):
        if self.link is not None and os.path.lexists(self.link):
            os.unlink(self.link)
        write(self.path, content)
        if self.link is not None and linked:
            os.symlink(self.path, self.link)

    def run(self, words):
        # A server that this starts stays; with the attempt's mark it would be ended with the attempt.
        os.environ.pop('AEGIR_ATTEMPT', None)
        words = [self.module.get_bin_path(words[0], required=True, opt_dirs=PLACES)] + words[1:]
        code, out, error = self.module.run_command(words)
        return code, (error or out).strip()

    def runs(self):
        """Whether there is such a process, where its name is known."""
        name = self.module.params['process']
        return name is None or any(command(path) == name for path in glob.glob('/proc/[0-9]*/comm'))

    def change(self):
        if not os.path.isdir(os.path.dirname(self.path)):
            if self.after is None:
                return  # Neither the server nor the site was ever here.
            self.module.fail_json(msg='there is no directory %s on this host: set the web server up first, or name '
                                  'the right mode and server_directory' % os.path.dirname(self.path))
        if self.after is None and not self.runs():
            self.set(None, linked=False)
            return write(self.mark, None)
        write(self.mark, b'')
        self.set(self.after, linked=self.after is not None)
        code, said = self.run(self.module.params['test'])
        if code != 0:
            self.set(self.before, self.linked_before)
            write(self.mark, None)
            self.module.fail_json(msg='the server does not take the file, which is as it was before: '
                                  + said, path=self.path)
        if not self.runs():
            self.module.fail_json(msg='the server does not run: there is no process %s' % self.module.params['process'],
                                  path=self.path)
        code, said = self.run(self.module.params['reload'])
        if code != 0:
            self.module.fail_json(msg='the server does not reload: is it running? It says: ' + said,
                                  path=self.path)
        write(self.mark, None)


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['present', 'absent'], 'default': 'present'},
            'path': {'type': 'path', 'required': True},
            'link': {'type': 'path'},
            'content': {'type': 'str'},
            # As the kernel has it.
            'process': {'type': 'str'},
            'test': {'type': 'list', 'elements': 'str', 'required': True},
            'reload': {'type': 'list', 'elements': 'str', 'required': True},
        },
        required_if=[('state', 'present', ['content'])],
        supports_check_mode=True,
    )
    try:
        server_file = ServerFile(module)
        changed = server_file.differs()
        if changed and not module.check_mode:
            server_file.change()
    except OSError as error:
        module.fail_json(msg='%s: %s' % (error.filename, error.strerror))
    text = lambda content: (content or b'').decode('utf-8', 'replace')  # noqa: E731
    diff = {'before_header': server_file.path, 'after_header': server_file.path,
            'before': text(server_file.before), 'after': text(server_file.after)}
    module.exit_json(changed=changed, path=server_file.path, diff=diff)


if __name__ == '__main__':
    main()
