# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the frontend how far a Task is. Nothing runs on the minion; the callback plug-in finds it in the result."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={
            'percent': {'type': 'int', 'required': True},
            'message': {'type': 'str'},
        })
        if not 0 <= arguments['percent'] <= 100:
            raise AnsibleActionFail('percent: %d is given, 0 to 100 is expected' % arguments['percent'])
        result['changed'] = False
        result['aegir_progress'] = arguments
        return result
