#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for a page of a site until it is as expected: an instance's through php-fpm, before anybody is sent there, or the
current one's through the web server. Of an instance what can't get better is not waited for: a script that ended in a fatal
error, or the same wrong answer for a while. What php-fpm itself gives while it starts is.
"""

import http.client
import json
import os
import re
import ssl
import stat
import time
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.php_site_fastcgi import ask

EVERYWHERE = {'*': '127.0.0.1', '0.0.0.0': '127.0.0.1', '[::]': '::1'}
MAX_PAGE = 64 * 1024 * 1024
# Answers of servers that are starting, or have too much to do.
PASSING = (429, 502, 503, 504)
# How long a program that answers may go on to answer wrongly: its first pages fill caches.
WRONG_SECONDS = 3


def through_pool(p, seconds):
    """As the virtual host asks for it, but of the named instance."""
    documents = os.path.join(p['instance'], 'code', p['document_root']).rstrip('/')
    asked = urlsplit(p['page'])
    script = asked.path if asked.path.endswith('.php') else '/' + p['front']
    port = '443' if p['tls'] else '80'
    status, headers, body, error = ask(p['pool'], {
        'GATEWAY_INTERFACE': 'CGI/1.1', 'SERVER_SOFTWARE': 'aegir', 'SERVER_PROTOCOL': 'HTTP/1.1',
        'REQUEST_METHOD': 'GET', 'REQUEST_SCHEME': 'https' if p['tls'] else 'http', 'QUERY_STRING': asked.query,
        'REQUEST_URI': p['page'], 'DOCUMENT_URI': script, 'SCRIPT_NAME': script, 'DOCUMENT_ROOT': documents,
        'SCRIPT_FILENAME': documents + script, 'HTTP_HOST': p['site'], 'SERVER_NAME': p['site'], 'SERVER_PORT': port,
        'SERVER_ADDR': '127.0.0.1', 'REMOTE_ADDR': '127.0.0.1', 'REMOTE_PORT': '1', 'REDIRECT_STATUS': '200',
        'HTTP_USER_AGENT': 'aegir', **({'HTTPS': 'on'} if p['tls'] else {}),
        'PHP_VALUE': 'auto_prepend_file=%s/settings/environment.php' % p['instance'],
    }, seconds)
    return status, headers, body, error.strip()


def through_server(p, seconds):
    address = EVERYWHERE.get(p['address'], p['address'].strip('[]'))
    if p['tls']:
        # The certificate is the given one and may be anybody's: from the host itself only the page is of interest.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, p['port'], timeout=seconds, context=context)
        # The name decides which site's certificate it is.
        connection.connect = lambda: connect(connection, context, p['site'])
    else:
        connection = http.client.HTTPConnection(address, p['port'], timeout=seconds)
    try:
        connection.request('GET', p['page'], headers={'Host': p['site'], 'Connection': 'close', 'User-Agent': 'aegir'})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read(MAX_PAGE), ''
    finally:
        connection.close()


def connect(connection, context, site):
    http.client.HTTPConnection.connect(connection)
    connection.sock = context.wrap_socket(connection.sock, server_hostname=site)


def wrong(p, status, page, said):
    """What is wrong with an answer; None if nothing is."""
    if status not in p['statuses']:
        text = page[:300].decode('utf-8', 'replace') if p['pool'] else ''
        return 'its page %s answers with status %d, not %s%s' % (
            p['page'], status, ' or '.join(map(str, p['statuses'])), ': ' + (said or text) if said or text else '')
    if p['contains'] is not None and p['contains'].encode('utf-8') not in page:
        return 'its page %s (%d bytes) does not hold the expected text' % (p['page'], len(page))
    return None


def written(path):
    """How much is in a log by now."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def fatal(path, start):
    """What has ended a script since, by PHP's log: its line only, because a stack trace holds values. The log is the site's
    own, and so may be a link to what only root can read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), 'rb') as log:
            about, of = os.fstat(log.fileno()), os.stat(os.path.dirname(path))
            if not stat.S_ISREG(about.st_mode) or about.st_uid != of.st_uid:
                return ''
            log.seek(start)
            lines = re.findall(rb'PHP (?:Parse|Fatal) error: .*', log.read(MAX_PAGE))
            return ' (%s)' % lines[-1][:1000].decode('utf-8', 'replace') if lines else ''
    except OSError:
        return ''


def main():
    module = AnsibleModule(
        argument_spec={
            'site': {'type': 'str', 'required': True},
            'page': {'type': 'str', 'default': '/'},
            'statuses': {'type': 'list', 'elements': 'int', 'default': [200]},
            # A text, as JSON.
            'contains': {'type': 'str'},
            'seconds': {'type': 'int', 'default': 10},
            'tls': {'type': 'bool', 'default': False},
            'pool': {'type': 'path'},
            'instance': {'type': 'path'},
            'log': {'type': 'path'},
            'document_root': {'type': 'str', 'default': ''},
            'front': {'type': 'str', 'default': 'index.php'},
            'address': {'type': 'str', 'default': '*'},
            'port': {'type': 'int', 'default': 80},
        },
        required_together=[('pool', 'instance', 'log')],
        supports_check_mode=True,
    )
    p = module.params
    if p['contains'] is not None:
        p['contains'] = json.loads(p['contains'])
    start = written(p['log']) if p['pool'] else 0
    end = time.monotonic() + p['seconds']
    wrong_since = None
    while True:
        status = None
        try:
            # One answer may take as long as all of them: a page that is asked for the first time is slow.
            seconds = max(end - time.monotonic(), 5)
            status, _, page, said = through_pool(p, seconds) if p['pool'] else through_server(p, seconds)
            problem = wrong(p, status, page, said)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = 'it does not answer: %s' % (error or type(error).__name__)
        if problem is None:
            module.exit_json(changed=False, status=status, bytes=len(page),
                             msg='%s answers with the expected page of %d bytes' % (p['site'], len(page)))
        now = time.monotonic()
        why = fatal(p['log'], start) if p['pool'] else ''
        wrong_since = wrong_since or now if status is not None and status not in PASSING else None
        if now >= end or why and wrong_since or p['pool'] and wrong_since and now - wrong_since >= WRONG_SECONDS:
            where = 'its new instance' if p['pool'] else 'port %d of this host' % p['port']
            module.fail_json(msg='%s on %s: %s%s' % (p['site'], where, problem, why))
        time.sleep(0.2)


if __name__ == '__main__':
    main()
