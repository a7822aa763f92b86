# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-doc aegir_document` shows. The action plug-in of the same name does what it says."""

from __future__ import annotations

DOCUMENTATION = r'''
module: aegir_document
short_description: hands a whole value to the frontend
description:
  - Writes a C(document) record into the transcript, with the value's SHA-256. A later value of the same name stands in its
    place. Later Tasks of the Operation find it as C(aegir.outputs.TASK.NAME).
  - The Task fails at its end for a value that does not fit what the manifest declares under C(outputs).
  - Runs on no minion. In a dry run nothing is handed over.
options:
  name:
    description: Which document. 1 to 63 characters a-z, 0-9 and _, a letter first.
    type: str
    required: true
  value:
    description: Any value that JSON can hold. As JSON in ASCII it may have 255,000 characters.
    type: raw
    required: true
  entity:
    description: What the value is about, if that is not the Operation's target.
    type: dict
    suboptions:
      kind:
        description: The kind of the thing, such as C(platform).
        type: str
        required: true
      id:
        description: The frontend's id of it.
        type: str
        required: true
notes:
  - Each host of a play hands its value over. Use C(run_once) where one is meant.
author: the authors of relayd and dispatcherd
'''

EXAMPLES = r'''
- name: Say where the backup is
  aegir_document:
    name: backup
    # One expression: before 2.19 a template inside of a value gives a text, not a number.
    value: "{{ {'path': archive.dest, 'bytes': found.stat.size, 'sha256': found.stat.checksum} }}"
'''

RETURN = r'''
aegir_documents:
  description: The value under its name, for the callback plug-in.
  returned: unless in a dry run
  type: dict
'''
