"""Says which of the templates on standard input do not parse. Filters and tests need not be known for that."""

import ast
import json
import sys

try:
    from jinja2 import Environment
    from jinja2.exceptions import TemplateSyntaxError
except ImportError:
    sys.exit(3)

# What an ansible.cfg can switch on is no mistake.
EXTENSIONS = ['jinja2.ext.do', 'jinja2.ext.loopcontrols']
# The first line of a template file can say how the rest is written.
HEADER = '#jinja2:'


def settings(line):
    found = {}
    for pair in line.split(','):
        key, _, value = pair.partition(':')
        try:
            value = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError):
            continue
        if key.strip().endswith('_string') and isinstance(value, str):
            found[key.strip()] = value
    return found


def wrong(template):
    text, options = template['text'], dict(template['options'])
    if template['form'] == 'file' and text.startswith(HEADER):
        first, _, rest = text.partition('\n')
        options.update(settings(first[len(HEADER):]))
        text = '\n' + rest
    if template['form'] == 'expression' and '{{' not in text and '{%' not in text:
        text = '{{ ' + text + ' }}'
    try:
        Environment(extensions=EXTENSIONS, **options).parse(text)
    except TemplateSyntaxError as error:
        return {'line': error.lineno, 'message': error.message}
    except (AssertionError, TypeError, ValueError) as error:
        return {'line': 1, 'message': str(error)}
    return None


json.dump([wrong(template) for template in json.load(sys.stdin)], sys.stdout)
