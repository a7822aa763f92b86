# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps an operator's own playbook to the Operation's hosts, and to the way there that the Operation says.

AEGIR_HOSTS names the group of these hosts. How they are reached stands in dispatcherd's inventory; host_vars, group_vars, other
inventories and `vars` would outrank that or add to it, and the work would be done elsewhere than on the host that is locked and
whose key is checked. `hosts: all` does not mean a localhost that an inventory lists: that is dispatcherd's own host. A plug-in
for variables is what Ansible loads first. Written for ansible-core 2.14 to 2.21.
"""

from __future__ import annotations

import os

from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.plugins.vars import BaseVarsPlugin
from ansible.vars.manager import VariableManager

DOCUMENTATION = """
name: aegir_hosts
short_description: keeps a playbook to the Operation's hosts
description:
  - Where the environment variable AEGIR_HOSTS names a group, its hosts are reached as dispatcherd's inventory says, whatever
    other variables say, and no play runs on a localhost that it does not name.
"""

# What dispatcherd's inventory says of each host.
SAID = ('ansible_host', 'ansible_port', 'ansible_user', 'ansible_ssh_args', 'ansible_ssh_private_key_file')
# What it does not say, and what Ansible would rank above that or add to it.
UNSAID = (
    'ansible_ssh_host', 'ansible_ssh_port', 'ansible_ssh_user', 'ansible_private_key_file', 'ansible_ssh_common_args',
    'ansible_ssh_extra_args', 'ansible_ssh_executable', 'ansible_host_key_checking', 'ansible_ssh_host_key_checking',
)
HERE = ('localhost', '127.0.0.1', '::1')


def watch(group):
    """Takes the place of two methods of Ansible's."""
    original_vars = VariableManager.get_vars
    original_hosts = InventoryManager.get_hosts
    said = {}

    def get_vars(self, play=None, host=None, *args, **kwargs):
        variables = original_vars(self, play, host, *args, **kwargs)
        if host is None or all(of.name != group for of in host.get_groups()):
            return variables
        if 'ansible_connection' in variables:
            # What a play or a step says itself is meant; what is said of the host does not count.
            of_host = original_vars(self, host=host, include_hostvars=False)
            if of_host.get('ansible_connection') == variables['ansible_connection']:
                del variables['ansible_connection']
        # As it was before a step could change it (add_host).
        of_entry = said.setdefault(host.name, {name: host.vars[name] for name in SAID if name in host.vars})
        for name in SAID + UNSAID:
            variables.pop(name, None)
        variables.update(of_entry)
        return variables

    def get_hosts(self, pattern='all', ignore_limits=False, ignore_restrictions=False, order=None):
        hosts = original_hosts(self, pattern, ignore_limits, ignore_restrictions, order)
        if ignore_limits or all(host.name not in HERE for host in hosts):
            return hosts
        meant = original_hosts(self, pattern, ignore_limits=True, ignore_restrictions=True)
        if all(host.name in HERE for host in meant):
            return hosts
        named = split_host_pattern(pattern)
        return [host for host in hosts if host.name not in HERE or host.name in named]

    VariableManager.get_vars = get_vars
    InventoryManager.get_hosts = get_hosts


if os.environ.get('AEGIR_HOSTS') and not hasattr(VariableManager, 'aegir_watched'):
    VariableManager.aegir_watched = True
    watch(os.environ['AEGIR_HOSTS'])


class VarsModule(BaseVarsPlugin):
    """Has no variables. Ansible asks only plug-ins that are enabled, and this one is not."""

    REQUIRES_ENABLED = True

    def get_vars(self, loader, path, entities, cache=True):
        return {}
