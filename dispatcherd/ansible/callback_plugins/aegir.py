# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the runner what happens in a playbook, as JSON Lines over a unix socket.

Runs beside whatever callback prints to standard output, and does nothing unless AEGIR_EVENTS names a socket.
Written for ansible-core 2.14 to 2.21: of a result only what all of these have is used.
"""

from __future__ import annotations

import json
import os
import socket
import time

from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version

DOCUMENTATION = """
name: aegir
type: notification
short_description: tells dispatcherd's runner what happens
description:
  - Sends one JSON object for each result to the unix socket that the environment variable AEGIR_EVENTS names.
"""

# Compared with the runner's own number; it refuses another one.
VERSION = 3
# In characters: far more than a person reads. What is longer is cut in the runner, after secrets have been masked;
# a cut here could leave a part of a secret that nobody recognises.
LONGEST_MESSAGE = 300000
LONGEST_NAME = 50000
LONGEST_DIFF = 60000
# What no record can hold, whatever the runner makes of it; the runner takes no line of more than 2 MiB.
LONGEST_DOCUMENT = 1000000
# These only say where the next steps come from.
SILENT_ACTIONS = ('include_tasks', 'import_tasks', 'include_role', 'import_role', 'meta')


def clean(text):
    """The text without lone surrogates, which stand for bytes that are not UTF-8 and which no JSON reader takes."""
    text = str(text)
    try:
        return text.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
    except UnicodeEncodeError:
        return text.encode('utf-8', 'replace').decode('utf-8')


def plain(value):
    """The value in the types of JSON, however Ansible wraps it."""
    if isinstance(value, dict):
        return {clean(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    return clean(value)


def shortened(text, longest):
    """The beginning and the end of a text that is too long."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return '%s\n[%d characters left out]\n%s' % (text[:half], len(text) - 2 * half, text[-half:])


def part(result, name):
    """The task, host or result of a task's result, whatever this version calls it."""
    for attribute in ('_' + name, name):
        found = getattr(result, attribute, None)
        if found is not None:
            return found
    return None


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'notification'
    CALLBACK_NAME = 'aegir'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._socket = None
        self._owner = os.getpid()
        self._started = {}
        path = os.environ.get('AEGIR_EVENTS')
        if not path:
            self.disabled = True
            return
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(path)
        except OSError as error:
            self._socket = None
            self.disabled = True
            self._display.warning('the runner can not be told what happens: %s: %s' % (path, error))
            return
        self._send({'event': 'hello', 'version': VERSION, 'ansible': ansible_version})

    def _send(self, event):
        # A fork that Ansible made has the socket too and must not write to it.
        if self._socket is None or os.getpid() != self._owner:
            return
        try:
            self._socket.sendall(json.dumps(event).encode('ascii') + b'\n')
        except OSError:
            # The runner is gone. Whoever finds that ends this playbook too.
            self._socket = None

    # -- results

    def _name(self, task):
        name = task.name or task.action
        return shortened(clean(name), LONGEST_NAME)

    def _step(self, result, status, item=None):
        task, host, values = part(result, 'task'), part(result, 'host'), part(result, 'result') or {}
        if str(task.action).rsplit('.', 1)[-1] in SILENT_ACTIONS and status in ('ok', 'skipped'):
            return
        now = time.monotonic()
        key = (host.get_name(), task._uuid)
        began = self._started.get(key, now)
        if item is not None:
            # The next item begins where this one ends.
            self._started[key] = now
        event = {
            'event': 'step',
            'name': self._name(task),
            'action': clean(task.resolved_action if getattr(task, 'resolved_action', None) else task.action),
            'host': clean(host.get_name()),
            'status': status,
            'item': item,
            'duration_ms': max(0, int((now - began) * 1000)),
            'message': self._message(values, status),
            'diff': self._diff(task, values),
        }
        # Of a loop each item has its own; the result of the whole has only a list of them. What is a secret is masked in
        # all that comes behind it.
        self._hand_over(values)
        self._send(event)

    def _message(self, values, status):
        if values.get('censored'):
            return clean(values['censored'])
        parts = []
        wrong = status in ('failed', 'ignored', 'unreachable')
        for key in ('msg', 'stderr', 'module_stderr', 'module_stdout') if wrong else ('msg',):
            text = values.get(key)
            if isinstance(text, (list, dict)):
                text = json.dumps(plain(text))
            text = clean(text).strip() if text else ''
            if text and text not in parts:
                parts.append(text)
        if wrong and not values.get('stderr') and values.get('rc') and values.get('stdout'):
            # Many programs say what is wrong on standard output.
            parts.append(clean(values['stdout']).strip())
        if status == 'skipped' and not parts and values.get('skip_reason'):
            parts.append(clean(values['skip_reason']))
        return shortened('\n'.join(parts), LONGEST_MESSAGE) or None

    def _diff(self, task, values):
        wanted = getattr(task, 'diff', None) or getattr(task, 'check_mode', None)
        diff = values.get('diff')
        if not wanted or not diff or values.get('censored'):
            return None
        diff = plain(diff)
        if len(json.dumps(diff)) > LONGEST_DIFF:
            return {'left_out': 'the difference has more than %d characters' % LONGEST_DIFF}
        return diff

    def _hand_over(self, values):
        """Documents and progress, from a module's or action's result."""
        if values.get('censored'):
            return
        documents = values.get('aegir_documents')
        if isinstance(documents, dict):
            entity = plain(values.get('aegir_entity'))
            for name, value in documents.items():
                value = plain(value)
                length = len(json.dumps(value))
                if length > LONGEST_DOCUMENT:
                    self._send({'event': 'left_out', 'name': clean(name), 'bytes': length})
                else:
                    self._send({'event': 'document', 'name': clean(name), 'entity': entity, 'value': value})
        progress = values.get('aegir_progress')
        if isinstance(progress, dict):
            self._send({'event': 'progress', 'percent': plain(progress.get('percent', 0)),
                        'message': plain(progress.get('message'))})

    def _item(self, result):
        values = part(result, 'result') or {}
        label = values.get('_ansible_item_label', values.get(values.get('ansible_loop_var', 'item'), ''))
        if values.get('_ansible_no_log') or values.get('censored'):
            return '(censored due to no_log)'
        label = plain(label)
        return shortened(label if isinstance(label, str) else json.dumps(label), LONGEST_NAME)

    # -- what Ansible calls

    def v2_playbook_on_play_start(self, play):
        # A playbook of the operator's own does not mark its processes on the minions; this does.
        attempt = os.environ.get('AEGIR_PLAY_MARKER')
        if not attempt:
            return
        try:
            # Steps look up what they inherit in the play that they were read into, of which this one is a copy.
            plays = [play]
            for block in list(play.pre_tasks) + list(play.tasks) + list(play.post_tasks) + list(play.handlers):
                if not any(known is block._play for known in plays):
                    plays.append(block._play)
            for each in plays:
                each.environment = list(each.environment or []) + [{'AEGIR_ATTEMPT': attempt}]
        except Exception as error:  # whatever it is, the play itself must go on
            self._display.warning('processes on minions can not be marked: %s' % error)

    def v2_runner_on_start(self, host, task):
        self._started[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result):
        values = part(result, 'result') or {}
        self._step(result, 'changed' if values.get('changed') else 'ok')

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._step(result, 'ignored' if ignore_errors else 'failed')

    def v2_runner_on_skipped(self, result):
        self._step(result, 'skipped')

    def v2_runner_on_unreachable(self, result):
        self._step(result, 'unreachable')

    def v2_runner_item_on_ok(self, result):
        values = part(result, 'result') or {}
        self._step(result, 'changed' if values.get('changed') else 'ok', self._item(result))

    def v2_runner_item_on_failed(self, result):
        self._step(result, 'failed', self._item(result))

    def v2_runner_item_on_skipped(self, result):
        self._step(result, 'skipped', self._item(result))

    def v2_playbook_on_stats(self, stats):
        hosts = {clean(host): plain(stats.summarize(host)) for host in stats.processed}
        self._send({'event': 'stats', 'hosts': hosts})
