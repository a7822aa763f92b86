#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the web server on this host for a site's first page until it is the expected one.

Compares bytes, so that a page in any encoding can be compared, and brings none of them back.
"""

import hashlib
import http.client
import os
import time

from ansible.module_utils.basic import AnsibleModule

EVERYWHERE = {'*': '127.0.0.1', '0.0.0.0': '127.0.0.1', '[::]': '::1'}
MAX_PAGE = 64 * 1024 * 1024


def ask(address, port, site, seconds):
    connection = http.client.HTTPConnection(address, port, timeout=max(seconds, 1))
    try:
        connection.request('GET', '/', headers={'Host': site, 'Connection': 'close', 'User-Agent': 'aegir'})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_PAGE)
    finally:
        connection.close()


def wrong(status, page, contains, expected):
    """What is wrong with an answer; None if nothing is."""
    if status != 200:
        return 'it answers with status %d' % status
    if contains is not None and contains not in page:
        return 'its first page (%d bytes) does not hold the expected text' % len(page)
    if contains is None and expected is not None and page != expected:
        return 'its first page (%d bytes) is not the release\'s index.html (%d bytes)' % (len(page), len(expected))
    return None


def main():
    module = AnsibleModule(
        argument_spec={
            'address': {'type': 'str', 'required': True},
            'port': {'type': 'int', 'required': True},
            'site': {'type': 'str', 'required': True},
            'contains': {'type': 'str'},
            'file': {'type': 'path'},
            'seconds': {'type': 'int', 'default': 10},
        },
        supports_check_mode=True,
    )
    p = module.params
    address = EVERYWHERE.get(p['address'], p['address'].strip('[]'))
    contains = None if p['contains'] is None else p['contains'].encode('utf-8')
    expected = None
    if contains is None and p['file'] and os.path.isfile(p['file']):
        with open(p['file'], 'rb') as file:
            expected = file.read(MAX_PAGE)
    end = time.monotonic() + p['seconds']
    while True:
        try:
            status, page = ask(address, p['port'], p['site'], min(5, p['seconds']))
            problem = wrong(status, page, contains, expected)
        except (OSError, http.client.HTTPException) as error:
            problem = 'it does not answer: %s' % (error or type(error).__name__)
        if problem is None:
            module.exit_json(changed=False, status=status, bytes=len(page), sha256=hashlib.sha256(page).hexdigest(),
                             msg='%s answers with the expected page of %d bytes' % (p['site'], len(page)))
        if time.monotonic() >= end:
            module.fail_json(msg='%s on port %d of this host: %s' % (p['site'], p['port'], problem))
        time.sleep(0.1)


if __name__ == '__main__':
    main()
