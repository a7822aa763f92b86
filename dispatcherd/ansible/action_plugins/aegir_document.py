# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a whole value to the frontend. Nothing runs on the minion; the callback plug-in finds it in the result."""

from __future__ import annotations

import json
import re

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# As the records have it.
NAME = '[a-z][a-z0-9_]{0,62}'
# In ASCII characters: with the rest of its record that is less than the 256 KiB that a record may have.
MOST = 255000


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={
            'name': {'type': 'str', 'required': True},
            'value': {'type': 'raw', 'required': True},
            'entity': {'type': 'dict', 'options': {
                'kind': {'type': 'str', 'required': True},
                'id': {'type': 'str', 'required': True},
            }},
        })
        name = arguments['name']
        if not re.fullmatch(NAME, name):
            raise AnsibleActionFail('name: %r is no name for a document: %s is expected' % (name, NAME))
        if self._task.no_log:
            raise AnsibleActionFail('no_log hides the result, and with it the document %s' % name)
        size = len(json.dumps(arguments['value'], default=str))
        if size > MOST:
            raise AnsibleActionFail('value: %s has %d characters as JSON, and may have %d' % (name, size, MOST))
        result['changed'] = False
        if self._task.check_mode:
            result['msg'] = 'a dry run hands nothing over: %s is left as it was' % name
        else:
            result['aegir_documents'] = {name: arguments['value']}
            if arguments['entity']:
                result['aegir_entity'] = arguments['entity']
        return result
