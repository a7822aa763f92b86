# SPDX-License-Identifier: GPL-3.0-or-later
"""What the callback plug-in makes of results, whatever is in them. Started by callback.rs."""

import datetime
import json
import os
import socket
import sys
import tempfile
import unittest
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../ansible/callback_plugins'))
import aegir  # noqa: E402


class Tagged(str):
    """As ansible-core 2.19 and later mark their texts."""


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        path = os.path.join(self.directory.name, 'events')
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1)
        os.environ['AEGIR_EVENTS'] = path
        self.callback = aegir.CallbackModule()
        self.reader = self.listener.accept()[0]

    def tearDown(self):
        self.callback._socket.close()
        self.reader.close()
        self.listener.close()
        self.directory.cleanup()

    def step(self, values, status='failed', action='example', **of_task):
        task = SimpleNamespace(name='Step', action=action, _uuid='1', _parent=None, diff=True)
        task.__dict__.update(of_task)
        result = SimpleNamespace(
            _task=task, _host=SimpleNamespace(get_name=lambda: 'web1'), _result=values, _task_fields={})
        sent = []
        real, self.callback._socket = self.callback._socket, SimpleNamespace(sendall=sent.append)
        self.callback._step(result, status)
        self.callback._socket = real
        for line in sent:
            self.assertLessEqual(len(line), aegir.LONGEST_LINE)
        strict = lambda word: self.fail(word)  # noqa: E731
        return [json.loads(line.decode('utf-8'), parse_constant=strict) for line in sent]

    def message(self, values, status='failed', **more):
        return self.step(values, status, **more)[-1]['message']

    def test_no_value_loses_a_step(self):
        deep = []
        for _ in range(5000):
            deep = [deep]
        circle = {}
        circle['again'] = circle
        values = {
            'nan': float('nan'), 'infinity': [float('inf'), -float('inf')], 'large': 2 ** 64, 'small': -2 ** 63 - 1,
            'vast': 10 ** 5000, 'surrogate': '\ud83d', 'bytes': b'\xff', 3: {None: 1, True: 2}, 'set': {1},
            'frozen': frozenset([Tagged('x')]), 'date': datetime.date(2026, 1, 2), 'deep': deep, 'circle': circle,
            'object': object(), 'control': '\x00\x1b', 'fits': [2 ** 64 - 1, -2 ** 63, 0.5, True, None],
        }
        [event] = self.step({'msg': 'ratio is wrong', 'diff': values})
        self.assertEqual((event['message'], event['status']), ('ratio is wrong', 'failed'))
        diff = event['diff']
        self.assertEqual((diff['nan'], diff['infinity']), ('NaN', ['Infinity', '-Infinity']))
        self.assertEqual((diff['large'], diff['small']), (str(2 ** 64), str(-2 ** 63 - 1)))
        self.assertEqual((diff['3'], diff['date'], diff['frozen']), ({'None': 1, 'True': 2}, '2026-01-02', ['x']))
        self.assertEqual(diff['fits'], [2 ** 64 - 1, -2 ** 63, 0.5, True, None])
        for odd in values.values():
            self.assertEqual(self.step({'msg': [odd]})[-1]['event'], 'step')
            events = self.step({'aegir_documents': {'d': odd}, 'aegir_progress': {'percent': odd, 'message': odd}}, 'ok')
            self.assertEqual([event['event'] for event in events], ['document', 'progress', 'step'])

    def test_what_is_not_a_value_at_all_leaves_the_rest_of_the_step(self):
        class Broken:
            def __str__(self):
                raise ValueError('no text')
        [event] = self.step({'msg': Broken(), 'diff': [Broken()]})
        self.assertEqual((event['name'], event['host']), ('Step', 'web1'))
        self.assertIn('no text', event['message'])
        self.assertIn('no text', event['diff']['left_out'])

    def test_long_texts_are_cut_by_what_they_take_in_a_line(self):
        for text in ['😀' * 3000000, '\x00' * 3000000, 'é"x\\' * 500000, 'x' * 999999 + '😀', '\x00' * 400000 + 'x' * 600000]:
            message = self.message({'msg': text}, name=text, action=text)
            self.assertIn('characters left out', message)
            self.assertTrue(message.startswith(text[:1]) and message.endswith(text[-1:]))
        self.assertEqual(self.message({'msg': '😀' * 200000}), '😀' * 200000)
        large = {'d': '\x00' * 300000}
        events = self.step({'aegir_documents': large, 'msg': 'after'}, 'ok')
        self.assertEqual([event['event'] for event in events], ['left_out', 'step'])
        events = self.step({'aegir_documents': {'d': 1}, 'aegir_entity': large}, 'ok')
        self.assertEqual([event['event'] for event in events], ['left_out', 'step'])

    def test_a_line_that_is_too_long_all_the_same_says_so(self):
        sent = []
        real, self.callback._socket = self.callback._socket, SimpleNamespace(sendall=sent.append)
        self.callback._send({'event': 'stats', 'hosts': 'x' * 3000000})
        self.callback._socket = real
        self.assertIn('3000', json.loads(sent[0])['problem'])

    def test_every_key_that_explains_is_in_the_message(self):
        for values, says in [
            ({'reason': 'Could not find or access'}, ['Could not find or access']),
            ({'message': 'Could not find file', 'ansible_facts': {}}, ['Could not find file']),
            ({'msg': 'non-zero return code', 'rc': 1, 'stderr': 'warned', 'stdout': 'broke'}, ['warned', 'broke']),
            ({'msg': 'MODULE FAILURE', 'module_stderr': 'Traceback', 'module_stdout': 'half'}, ['Traceback', 'half']),
            ({'msg': 'went wrong', 'exception': 'Traceback:\n  x\nOSError: no space'}, ['OSError: no space']),
            ({'msg': 'Assertion failed', 'assertion': 'x == 1'}, ['x == 1']),
            ({'msg': {'why': 'é'}}, ['{"why": "é"}']),
            ({'why': 'only here', 'changed': False}, ['why: only here']),
            ({'censored': 'hidden', 'msg': 'secret'}, ['hidden']),
        ]:
            for status in aegir.WRONG:
                message = self.message(values, status)
                for text in says:
                    self.assertIn(text, message)
        self.assertNotIn('secret', self.message({'censored': 'hidden', 'msg': 'secret'}))
        self.assertEqual(self.message({'skip_reason': 'Conditional', 'false_condition': 'x'}, 'skipped'), 'Conditional\nx')

    def test_a_loop_says_what_its_items_said(self):
        items = [
            {'item': 'a', 'ansible_loop_var': 'item', 'msg': 'fine'},
            {'item': 'b', 'ansible_loop_var': 'item', 'msg': 'site_missing: not here', 'failed': True},
            {'item': 'c', 'ansible_loop_var': 'item', 'msg': 'secret', 'failed': True, '_ansible_no_log': True},
        ]
        message = self.message({'msg': 'One or more items failed', 'results': items})
        self.assertTrue(message.startswith('site_missing: not here (item b)\n'), message)
        self.assertNotIn('secret', message)

    def test_debug_shows_the_variable(self):
        debug = {'action': 'ansible.builtin.debug'}
        self.assertEqual(self.message({'out.stdout': 'seventeen', 'changed': False}, 'ok', **debug), 'out.stdout: seventeen')
        self.assertEqual(self.message({'msg': 'hello'}, 'ok', **debug), 'hello')
        item = {'x': [1], 'thing': 2, 'ansible_loop_var': 'thing'}
        self.assertEqual(self.message(item, 'ok', **debug), 'x: [1]')

    def test_another_playbook_below_this_one_says_nothing(self):
        self.assertNotIn('AEGIR_EVENTS', os.environ)
        self.assertTrue(aegir.CallbackModule().disabled)


if __name__ == '__main__':
    unittest.main()
