# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps an operator's own playbook to the Operation's hosts, and to the way there that the Operation says.

AEGIR_HOSTS is the path of dispatcherd's inventory, which has these hosts and how each is reached. An ansible.cfg, host_vars,
group_vars, other inventories, roles and `vars` would outrank that or add to it, and the work would be done elsewhere than on the
host that is locked and whose key is checked. `hosts: all` does not mean a localhost that an inventory lists: that is dispatcherd's
own host. A plug-in for variables is what Ansible loads first. Written for ansible-core 2.14 to 2.21.
"""

from __future__ import annotations

import json
import os
import re

from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.playbook.play import Play
from ansible.plugins.loader import connection_loader
from ansible.plugins.vars import BaseVarsPlugin
from ansible.vars.manager import VariableManager

DOCUMENTATION = """
name: aegir_hosts
short_description: keeps a playbook to the Operation's hosts
description:
  - Where the environment variable AEGIR_HOSTS names dispatcherd's inventory, its hosts are reached as it says, whatever
    other variables and an ansible.cfg say, and no play runs on other hosts, or on a localhost that it does not name.
"""

# What dispatcherd's inventory says of each host.
SAID = ('ansible_host', 'ansible_port', 'ansible_user', 'ansible_ssh_args', 'ansible_ssh_private_key_file')
# Options of the connection that are not about where it leads or who logs in. All others are dispatcherd's to say, also those
# that a later Ansible adds.
FREE = (
    'pipelining', 'reconnection_retries', 'scp_if_ssh', 'sftp_batch_mode', 'ssh_transfer_method', 'timeout', 'use_tty', 'verbosity',
)
CONNECTION = 'ansible_connection'


def read(path):
    """What is said of each of the Operation's hosts."""
    with open(path, encoding='utf-8') as file:
        entries = json.load(file)['all']['hosts']
    return {host: {name: said[name] for name in SAID if name in said} for host, said in entries.items()}


def unsaid():
    """The other variables that say how ssh reaches a host, each with the value that it has here. None: no value."""
    # Its options are known once it is loaded.
    connection_loader.get('ssh', class_only=True)
    variables = {}
    for option, of_option in constants.config.get_configuration_definitions('connection', 'ssh').items():
        names = [entry['name'] for entry in of_option.get('vars') or () if entry['name'].startswith('ansible_')]
        if option in FREE or not names:
            continue
        variables.update(dict.fromkeys(names))
        # A value, where there is one, outranks what an ansible.cfg says.
        variables[names[0]] = of_option.get('default')
    for name in SAID:
        variables.pop(name, None)
    return variables


def connection_of(play, task):
    """The connection that a play, a block or a step names in its own `vars`, which is meant."""
    said = dict(play.vars if play else {})
    if task:
        said.update(task.get_vars())
        said.update(task.get_include_params())
    return said.get(CONNECTION)


def watch(entries):
    """Takes the place of three methods of Ansible's."""
    original_vars = VariableManager.get_vars
    original_hosts = InventoryManager.get_hosts
    original_validate = Play.post_validate
    here = {'localhost', '127.0.0.1', '::1'}.difference(entries)
    others = {}

    def get_vars(self, play=None, host=None, task=None, *args, **kwargs):
        variables = original_vars(self, play, host, task, *args, **kwargs)
        if host is None or host.name not in entries:
            return variables
        if not others:
            others.update(unsaid())
        # Ansible sets these after all others, for each item.
        loop = getattr(task, 'loop_control', None)
        for name in (getattr(loop, 'loop_var', None), getattr(loop, 'index_var', None)):
            if name in SAID or name in others or name == CONNECTION:
                raise AnsibleError(f'{name} is no name for the variable of a loop: the Operation says how its hosts are reached')
        for name, value in others.items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        for name in SAID + (CONNECTION,):
            variables.pop(name, None)
        variables.update(entries[host.name])
        connection = connection_of(play, task)
        if connection is not None:
            variables[CONNECTION] = connection
        return variables

    def get_hosts(self, pattern='all', ignore_limits=False, ignore_restrictions=False, order=None):
        hosts = original_hosts(self, pattern, ignore_limits, ignore_restrictions, order)
        # One without sources is the lookup `inventory_hostnames`, which is not about where a play runs.
        if ignore_limits or not self._sources:
            return hosts
        hosts = [host for host in hosts if host.name in entries or host.name in here]
        if all(host.name not in here for host in hosts):
            return hosts
        meant = original_hosts(self, pattern, ignore_limits=True, ignore_restrictions=True)
        if all(host.name in here for host in meant):
            return hosts
        named = split_host_pattern(pattern)
        return [host for host in hosts if host.name not in here or host.name in named]

    def post_validate(self, *args, **kwargs):
        text = str(self.hosts)
        result = original_validate(self, *args, **kwargs)
        hosts = split_host_pattern(self.hosts or [])
        # What a template makes of a group's name lists its hosts, and means no more than the group does.
        unnamed = {name for name in here.intersection(hosts) if not re.search(rf'(?<![\w.-]){re.escape(name)}(?![\w.-])', text)}
        if unnamed and not here.issuperset(hosts):
            self.hosts = [host for host in hosts if host not in unnamed]
        return result

    VariableManager.get_vars = get_vars
    InventoryManager.get_hosts = get_hosts
    Play.post_validate = post_validate


if os.environ.get('AEGIR_HOSTS') and not hasattr(VariableManager, 'aegir_watched'):
    VariableManager.aegir_watched = True
    watch(read(os.environ['AEGIR_HOSTS']))


class VarsModule(BaseVarsPlugin):
    """Has no variables. Ansible asks only plug-ins that are enabled, and this one is not."""

    REQUIRES_ENABLED = True

    def get_vars(self, loader, path, entities, cache=True):
        return {}
