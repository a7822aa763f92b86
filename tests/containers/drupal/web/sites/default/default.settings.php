<?php
// What a codebase of Drupal has here; settings.php comes beside it.
