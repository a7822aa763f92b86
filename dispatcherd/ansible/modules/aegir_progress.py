# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-doc aegir_progress` shows. The action plug-in of the same name does what it says."""

from __future__ import annotations

DOCUMENTATION = r'''
module: aegir_progress
short_description: tells the frontend how far a Task is
description:
  - Writes a C(progress) record into the transcript. Runs on no minion.
options:
  percent:
    description: From 0 to 100.
    type: int
    required: true
  message:
    description: What is being done.
    type: str
author: the authors of relayd and dispatcherd
'''

EXAMPLES = r'''
- name: Say how far it is
  aegir_progress: {percent: 40, message: Database imported}
'''

RETURN = r'''
aegir_progress:
  description: Both, for the callback plug-in.
  returned: always
  type: dict
'''
