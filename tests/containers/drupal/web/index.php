<?php
// In the place of Drupal: settings.php is the one that role drupal writes.
require __DIR__ . '/sites/default/settings.php';
$d = $databases['default']['default'];
$database = new mysqli($d['host'], $d['username'], $d['password'], $d['database'], (int) $d['port']);
echo $database->query('SELECT title FROM site')->fetch_row()[0];
