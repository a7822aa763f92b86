# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the runner what happens in a playbook, as JSON Lines over a unix socket.

Runs beside whatever callback prints to standard output, and does nothing unless AEGIR_EVENTS names a socket.
Written for ansible-core 2.14 to 2.21: of a result only what all of these have is used.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time

from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
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
VERSION = 4
# In bytes, as they stand in a line: what is one character in a message can be six or more there. Far more than a person
# reads. What is longer is cut in the runner, after secrets have been masked; a cut here could leave a part of a secret
# that nobody recognises.
LONGEST_MESSAGE = 1000000
LONGEST_NAME = 50000
LONGEST_DIFF = 60000
LONGEST_ENTITY = 10000
# What no record can hold, whatever the runner makes of it.
LONGEST_DOCUMENT = 1000000
# The runner takes no line of more than 2 MiB.
LONGEST_LINE = 2000000
# Readers of JSON end at 128 levels, and what stands here stands deeper in what others make of it.
DEEPEST = 60
# These only say where the next steps come from.
SILENT_ACTIONS = ('include_tasks', 'import_tasks', 'include_role', 'import_role', 'meta')
# When a step begins, in what it starts on minions: how what a lost connection has cut off is found there. A play may have a
# variable of that name; nothing is found then.
STEP = '{{ (now().timestamp() * 1000000) | int if now is callable else 0 }}'
# What can be wrong with a step.
WRONG = ('failed', 'ignored', 'unreachable')
# What is in any result, and explains nothing by itself.
USUAL = ('msg', 'changed', 'failed', 'unreachable', 'skipped', 'skip_reason', 'skipped_reason', 'invocation', 'warnings',
         'deprecations', 'exception', 'results', 'item', 'diff', 'attempts', 'retries', 'failed_when_result',
         'failed_when_suppressed_exception', 'ansible_facts', 'rc', 'start', 'end', 'delta')


def clean(text):
    """The text without lone surrogates, which stand for bytes that are not UTF-8 and which no JSON reader takes."""
    if isinstance(text, bytes):
        return text.decode('utf-8', 'replace')
    text = str(text)
    try:
        return text.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
    except UnicodeEncodeError:
        return text.encode('utf-8', 'replace').decode('utf-8')


def number(value):
    """The number, or a text where JSON or its reader has no number for it: NaN, infinity, more than 64 bits."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.dumps(float(value))
    if -2 ** 63 <= value < 2 ** 64:
        return int(value)
    try:
        return str(int(value))
    except ValueError:  # Python writes only so many decimal digits
        return hex(value)


def plain(value, levels=DEEPEST):
    """The value in the types of JSON, however Ansible wraps it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return number(value)
    if not isinstance(value, (dict, list, tuple, set, frozenset)):
        return clean(value)
    if levels == 0:
        return '(left out: more than %d levels deep)' % DEEPEST
    if isinstance(value, dict):
        return {clean(key): plain(item, levels - 1) for key, item in value.items()}
    return [plain(item, levels - 1) for item in value]


def as_json(value):
    """The value, which is made of the types of JSON, as it stands in a line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def length(value):
    """How many bytes the value has in a line."""
    return len(as_json(value).encode('utf-8'))


def shortened(text, longest):
    """The beginning and the end of a text that takes too many bytes."""
    if len(text) <= longest and length(text) <= longest:
        return text
    half = longest // 2
    first, last = text[:half], text[-half:]
    # What there is too much of is taken off; it may have been more, or less, than its part of the bytes.
    while length(first) > half:
        first = first[:len(first) * half // length(first)]
    while length(last) > half:
        last = last[len(last) - len(last) * half // length(last):]
    return '%s\n[%d characters left out]\n%s' % (first, len(text) - len(first) - len(last), last)


def text(value):
    """The value for a person: a text as it is, anything else as JSON."""
    return (clean(value) if isinstance(value, (str, bytes)) else as_json(plain(value))).strip()


def texts(values, keys):
    """What stands under these keys, each text once."""
    found = []
    for key in keys:
        value = values.get(key)
        said = text(value) if value not in (None, '', [], {}) else ''
        if said and said not in found:
            found.append(said)
    return found


def others(values):
    """What stands in a result beside what Ansible itself puts there."""
    of_loop = (values.get('ansible_loop_var'), values.get('ansible_index_var'))
    for key, value in values.items():
        if str(key) not in USUAL and key not in of_loop and not str(key).startswith(('_ansible', 'ansible_loop')):
            yield key, value


def explained(values):
    """Why a step went wrong, the reason first: whatever of that the module, the action or Ansible itself says."""
    if values.get('censored') or values.get('_ansible_no_log'):
        return ['(censored due to no_log)']
    items = values.get('results')
    items = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    items = [item for item in items if item.get('failed') or item.get('unreachable')]
    if items:
        # The whole says no more than that there are some.
        return ['%s (item %s)' % ('\n'.join(explained(item)), label(item)) for item in items]
    found = texts(values, ('msg', 'reason', 'message', 'assertion', 'stderr', 'stdout', 'module_stderr', 'module_stdout'))
    # Of a traceback the last line says what it was.
    traceback = text(values.get('exception') or '').splitlines()
    last = traceback[-1].strip() if traceback else ''
    if last not in ('', '(traceback unavailable)') and not any(last in said for said in found):
        found.append(last)
    return found or ['%s: %s' % (clean(key), text(value)) for key, value in others(values)]


def pattern(hosts):
    """The `hosts` of a play."""
    return ','.join(clean(each) for each in hosts) if isinstance(hosts, (list, tuple)) else text(hosts)


def label(values):
    """What a loop's item is called."""
    if values.get('censored') or values.get('_ansible_no_log'):
        return '(censored due to no_log)'
    return text(values.get('_ansible_item_label', values.get(values.get('ansible_loop_var', 'item'), '')))


def attempted(make, otherwise):
    """What is made of a result; if that goes wrong, what is said instead, so that the step is not lost with it."""
    try:
        return make()
    except Exception as error:
        return otherwise('(left out: %s: %s)' % (type(error).__name__, clean(error)[:1000]))


def trusted(template):
    """A template of ours: from 2.19 on Ansible evaluates only texts that are marked for it."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return template
    return trust_as_template(template)


def part(result, name):
    """The task, host or result of a task's result, whatever this version calls it."""
    for attribute in ('_' + name, name):
        found = getattr(result, attribute, None)
        if found is not None:
            return found
    return None


def place(task):
    """Whether a rescue section takes care of the task's failure, and whether it runs for hosts that have failed too."""
    rescued, regardless = False, isinstance(task, Handler)
    below, above = {task._uuid}, task._parent
    while above is not None:
        if isinstance(above, Block):
            if above.rescue and any(each._uuid in below for each in above.block):
                rescued = True
            if any(each._uuid in below for each in above.always):
                regardless = True
        regardless = regardless or isinstance(above, Handler)
        below.add(above._uuid)
        above = above._parent
    return rescued, regardless


def microseconds():
    """What time it is, as STEP says it."""
    return int(time.time() * 1000000)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'notification'
    CALLBACK_NAME = 'aegir'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._socket = None
        self._owner = os.getpid()
        self._started = {}
        # How many plays there were, the hosts of the last one, and those of the plays that none matched.
        self._plays, self._pattern, self._unmatched = 0, '', []
        path = os.environ.get('AEGIR_EVENTS')
        if not path:
            self.disabled = True
            return
        # What a step starts beside dispatcherd has this environment too, and may be another ansible-playbook: the runner
        # reads what this one says and no more, so that another would wait for ever.
        del os.environ['AEGIR_EVENTS']
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
            line = as_json(event).encode('utf-8')
        except Exception as error:
            line = self._lost(event, '%s: %s' % (type(error).__name__, clean(error)[:1000]))
        if len(line) > LONGEST_LINE:
            line = self._lost(event, 'it has %d bytes, and may have %d' % (len(line), LONGEST_LINE))
        try:
            self._socket.sendall(line + b'\n')
        except OSError:
            # The runner is gone. Whoever finds that ends this playbook too.
            self._socket = None

    def _lost(self, event, problem):
        return as_json({'event': 'lost', 'problem': 'its %s: %s' % (event['event'], problem)}).encode('utf-8')

    # -- results

    def _name(self, task):
        name = task.name or task.action
        return shortened(clean(name), LONGEST_NAME)

    def _step(self, result, status, item=None):
        task, host, values = part(result, 'task'), part(result, 'host'), part(result, 'result') or {}
        if str(task.action).rsplit('.', 1)[-1] in SILENT_ACTIONS and status in ('ok', 'skipped'):
            return
        now = (time.monotonic(), microseconds())
        key = (host.get_name(), task._uuid)
        began = self._started.get(key, now)
        cut_off = None
        if values.get('unreachable') and (item is not None or not values.get('results')):
            delegate = (part(result, 'task_fields') or {}).get('delegate_to') or task.delegate_to
            cut_off = {'host': shortened(clean(delegate or host.get_name()), LONGEST_NAME), 'since': began[1], 'until': now[1]}
        if item is not None:
            # The next item begins where this one ends.
            self._started[key] = now
        rescued, regardless = attempted(lambda: place(task), lambda problem: (False, False))
        # No rescue section helps a host that can't be reached.
        rescued = rescued and status == 'failed'
        if rescued or status in WRONG and self._ignores(result, task, status):
            status = 'ignored'
        action = task.resolved_action if getattr(task, 'resolved_action', None) else task.action
        event = {
            'event': 'step',
            'name': attempted(lambda: self._name(task), str),
            'action': shortened(clean(action), LONGEST_NAME),
            'host': shortened(clean(host.get_name()), LONGEST_NAME),
            'status': status,
            'rescued': rescued,
            'regardless': regardless,
            'item': item,
            'duration_ms': max(0, int((now[0] - began[0]) * 1000)),
            'cut_off': cut_off,
            'message': attempted(lambda: self._message(task, values, status), str),
            'diff': attempted(lambda: self._diff(task, values), lambda problem: {'left_out': problem}),
        }
        # Of a loop each item has its own; the result of the whole has only a list of them. What is a secret is masked in
        # all that comes behind it.
        attempted(lambda: self._hand_over(values), self._nothing_handed_over)
        self._send(event)

    def _ignores(self, result, task, status):
        """Whether the play goes on after this; of a loop's item Ansible does not say so."""
        keyword = 'ignore_unreachable' if status == 'unreachable' else 'ignore_errors'
        return bool((part(result, 'task_fields') or {}).get(keyword, getattr(task, keyword, None)))

    def _message(self, task, values, status):
        if values.get('censored'):
            return clean(values['censored'])
        if status in WRONG:
            parts = explained(values)
        elif status == 'skipped':
            parts = texts(values, ('msg', 'skip_reason', 'skipped_reason', 'false_condition'))
        else:
            parts = texts(values, ('msg',))
            if str(task.action).rsplit('.', 1)[-1] == 'debug':
                # Of `var` the value stands under the variable's name, which may be that of the loop's item too.
                variable = (getattr(task, 'args', None) or {}).get('var')
                named = isinstance(variable, str) and variable in values
                shown = [(variable, values[variable])] if named else others(values)
                parts += ['%s: %s' % (clean(key), text(value)) for key, value in shown]
        return shortened('\n'.join(parts), LONGEST_MESSAGE) or None

    def _diff(self, task, values):
        wanted = getattr(task, 'diff', None) or getattr(task, 'check_mode', None)
        diff = values.get('diff')
        if not wanted or not diff or values.get('censored'):
            return None
        diff = plain(diff)
        if length(diff) > LONGEST_DIFF:
            return {'left_out': 'the difference has more than %d bytes' % LONGEST_DIFF}
        return diff

    def _hand_over(self, values):
        """Documents and progress, from a module's or action's result."""
        if values.get('censored'):
            return
        documents = values.get('aegir_documents')
        if isinstance(documents, dict):
            entity = plain(values.get('aegir_entity'))
            for name, value in documents.items():
                name, value = shortened(clean(name), LONGEST_NAME), plain(value)
                size = length(value)
                if size > LONGEST_DOCUMENT:
                    self._send({'event': 'left_out', 'name': name, 'bytes': size})
                elif length(entity) > LONGEST_ENTITY:
                    self._send({'event': 'left_out', 'name': name, 'bytes': size + length(entity)})
                else:
                    self._send({'event': 'document', 'name': name, 'entity': entity, 'value': value})
        progress = values.get('aegir_progress')
        if isinstance(progress, dict):
            try:
                percent = min(100.0, max(0.0, float(progress.get('percent', 0))))
            except (TypeError, ValueError, OverflowError):
                percent = 0
            message = progress.get('message')
            message = shortened(text(message), LONGEST_MESSAGE) if message is not None else None
            self._send({'event': 'progress', 'percent': percent, 'message': message})

    def _nothing_handed_over(self, problem):
        self._send({'event': 'lost', 'problem': 'what a step handed over: %s' % problem})

    def _item(self, result):
        values = part(result, 'result') or {}
        if values.get('_ansible_no_log') or values.get('censored'):
            return '(censored due to no_log)'
        return attempted(lambda: shortened(label(values), LONGEST_NAME), str)

    # -- what Ansible calls

    def v2_playbook_on_play_start(self, play):
        self._plays += 1
        self._pattern = attempted(lambda: shortened(pattern(play.hosts), LONGEST_NAME), str)
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
                marks = {'AEGIR_ATTEMPT': attempt, 'AEGIR_STEP': trusted(STEP)}
                # Ansible leaves what a play says as it stands: a mapping, a template, or several of these.
                own = each.environment or []
                each.environment = (own if isinstance(own, list) else [own]) + [marks]
        except Exception as error:  # whatever it is, the play itself must go on
            self._display.warning('processes on minions can not be marked: %s' % error)

    def v2_runner_on_start(self, host, task):
        self._started[(host.get_name(), task._uuid)] = (time.monotonic(), microseconds())

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

    def v2_playbook_on_no_hosts_matched(self):
        self._unmatched.append(self._pattern)

    def v2_playbook_on_stats(self, stats):
        hosts = {clean(host): plain(stats.summarize(host)) for host in stats.processed}
        self._send({'event': 'stats', 'hosts': hosts, 'plays': self._plays, 'unmatched': self._unmatched})
