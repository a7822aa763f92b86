# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a php-fpm pool for a page as the web server would: FastCGI 1.0, one request on one connection."""

import socket
import struct

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR = range(1, 8)
RESPONDER = 1
LIMIT = 64 * 1024 * 1024


def record(kind, content):
    return struct.pack('>BBHHBx', 1, kind, 1, len(content), 0) + content


def length(data):
    return bytes([len(data)]) if len(data) < 128 else struct.pack('>I', len(data) | 0x80000000)


def pairs(parameters):
    data = b''
    for name, value in parameters.items():
        name, value = name.encode(), str(value).encode()
        data += length(name) + length(value) + name + value
    return data


def exactly(stream, size):
    data = stream.read(size)
    if len(data) != size:
        raise OSError('php-fpm broke off its answer')
    return data


def ask(path, parameters, seconds):
    """Status, headers and body of what the pool behind a socket answers, and what it said besides."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        data = pairs(parameters)
        connection.sendall(record(BEGIN, struct.pack('>HB5x', RESPONDER, 0)))
        for start in range(0, len(data), 65535):
            connection.sendall(record(PARAMS, data[start:start + 65535]))
        connection.sendall(record(PARAMS, b'') + record(STDIN, b''))
        out, error = b'', b''
        with connection.makefile('rb') as stream:
            while True:
                _, kind, _, size, padding = struct.unpack('>BBHHBx', exactly(stream, 8))
                content = exactly(stream, size)
                exactly(stream, padding)
                if kind == END:
                    break
                if kind == STDOUT:
                    out += content
                elif kind == STDERR:
                    error += content
                if len(out) + len(error) > LIMIT:
                    raise OSError('php-fpm answers with more than %d bytes' % LIMIT)
    return parsed(out) + (error.decode('utf-8', 'replace'),)


def parsed(out):
    head, _, body = out.partition(b'\r\n\r\n')
    headers = {}
    for line in head.decode('utf-8', 'replace').split('\r\n'):
        name, _, value = line.partition(':')
        headers[name.strip().lower()] = value.strip()
    return int(headers.get('status', '200').split()[0]), headers, body
