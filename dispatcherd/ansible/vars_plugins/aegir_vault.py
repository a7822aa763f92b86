# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the runner what Ansible Vault decrypts, before anything can show it.

Everything that decrypts (variables, files, the filter and the lookup `unvault`) does so with one method of VaultLib. It is
replaced here by one that sends the plain text to the unix socket that AEGIR_VAULT names, and waits until the runner has
taken it: from then on it is masked. A plug-in for variables is what Ansible loads first, before any file that may be
encrypted is read. Written for ansible-core 2.14 to 2.21.
"""

from __future__ import annotations

import json
import os
import socket

from ansible.errors import AnsibleError
from ansible.parsing import vault
from ansible.plugins.vars import BaseVarsPlugin

DOCUMENTATION = """
name: aegir_vault
short_description: tells dispatcherd's runner what is decrypted
description:
  - Sends what Ansible Vault decrypts to the unix socket that the environment variable AEGIR_VAULT names.
"""

# In bytes. The runner takes no more; what is longer is a file, and not a password.
LONGEST = 256 * 1024
# In seconds: the runner answers at once, unless the disk is full.
PATIENCE = 600


def tell(path, secret):
    """Sends a text and waits for the answer. Each has a connection of its own, because Ansible's forks decrypt too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(json.dumps(secret).encode('ascii') + b'\n')
        if connection.recv(1) != b'\n':
            raise AnsibleError('what Ansible Vault decrypted could not be masked: dispatcherd\'s log says why')


def watch(path):
    """Has each plain text told to the runner, once in each process."""
    original = vault.VaultLib.decrypt_and_get_vault_id
    told = set()

    def decrypt_and_get_vault_id(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        plain = result[0]
        if len(plain) <= LONGEST and plain not in told:
            try:
                tell(path, plain.decode('utf-8', 'replace') if isinstance(plain, bytes) else str(plain))
                told.add(plain)
            except OSError:
                # The runner is gone. Whoever finds that ends this playbook too.
                pass
        return result

    vault.VaultLib.decrypt_and_get_vault_id = decrypt_and_get_vault_id


if os.environ.get('AEGIR_VAULT') and not hasattr(vault, 'aegir_watched'):
    vault.aegir_watched = True
    watch(os.environ['AEGIR_VAULT'])


class VarsModule(BaseVarsPlugin):
    """Has no variables. Ansible asks only plug-ins that are enabled, and this one is not."""

    REQUIRES_ENABLED = True

    def get_vars(self, loader, path, entities, cache=True):
        return {}
